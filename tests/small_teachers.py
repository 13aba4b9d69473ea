"""Small teachers of the real architectures with fixed weights: `from small_teachers import make_teachers`."""

from dataclasses import dataclass
from pathlib import Path

import onnx
import s2d_rule
import torch
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    HubertModel,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForSequenceClassification,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    WhisperForConditionalGeneration,
)

from liser_ray.finetuning.config import NewModel
from liser_ray.finetuning.words import new_classifier
from liser_ray.teachers.mobilefacenet import MobileFaceNet
from liser_ray.teachers.s2d import S2DConfig, VideoTransformer, save_s2d
from liser_ray.teachers.s2d_teacher import FERV39K_LABELS
from liser_ray.teachers.weights import save_checkpoint

SPEECH_LABELS = ("neutral", "happy", "sad", "angry")
HUBERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 32,
}
"""A narrow one of two layers."""


@dataclass(frozen=True)
class SmallTeachers:
    """Addresses of a face and a speech teacher of each kind that the paper has."""

    s2d: str
    landmarks: str
    speech: str  # a pattern of two folders

    @property
    def settings(self) -> dict[str, dict]:
        """As a settings file names them; small batches, so that each call has several."""
        face = {"kind": "s2d", "weights": self.s2d, "landmark_weights": self.landmarks, "batch_size": 4}
        return {"face": face, "speech": {"kind": "speech", "weights": self.speech, "batch_size": 8}}

    @property
    def arguments(self) -> list[str]:
        """The same for the command line."""
        return ["--teachers", f"face=s2d:{self.s2d},{self.landmarks}", f"speech=speech:{self.speech}"]


def make_teachers(folder: Path) -> SmallTeachers:
    """An S2D of width 64 and two HuBERTs of two layers."""
    network, landmarks = s2d_networks(S2DConfig(embed_dim=64, depth=1, heads=1))
    save_s2d(folder / "s2d.safetensors", network, FERV39K_LABELS)
    save_checkpoint(folder / "landmark.safetensors", landmarks.state_dict())
    for fold in (0, 1):
        torch.manual_seed(fold)
        model = HubertForSequenceClassification(HubertConfig(**HUBERT, **named(SPEECH_LABELS)))
        model.save_pretrained(folder / f"fold-{fold}")
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder / f"fold-{fold}")
    return SmallTeachers(str(folder / "s2d.safetensors"), str(folder / "landmark.safetensors"), f"{folder}/fold-*")


def s2d_networks(config: S2DConfig) -> tuple[VideoTransformer, MobileFaceNet]:
    """With weights by the rule: as initialised, all clips look the same to them."""
    network, landmarks = VideoTransformer(config), MobileFaceNet()
    network.load_state_dict(s2d_rule.state_for(network))
    landmarks.load_state_dict(s2d_rule.state_for(landmarks, "landmark."))
    return network.eval(), landmarks.eval()


def make_speech_base(folder: Path, seed: int = 0, **changes) -> Path:
    """A HuBERT of two layers with random weights and no head; ``changes`` are to its configuration."""
    torch.manual_seed(seed)
    HubertModel(HubertConfig(**HUBERT | {"initializer_range": 0.1} | changes)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


OF_SPECTROGRAMS = ("whisper", "ast", "w2v-bert")


def make_spectrogram_model(kind: str, folder: Path, seed: int = 0) -> Path:
    """A classifier of two layers that takes spectrograms, with random weights, of one of `OF_SPECTROGRAMS`."""
    width = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    labels = named(SPEECH_LABELS)
    torch.manual_seed(seed)
    if kind == "whisper":
        config = WhisperConfig(
            d_model=32,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=48,
            decoder_layers=1,
            classifier_proj_size=16,
            init_std=0.2,
            **labels,
        )
        model, extractor = WhisperForAudioClassification(config), WhisperFeatureExtractor()
    elif kind == "ast":
        model = ASTForAudioClassification(ASTConfig(**width, initializer_range=0.2, **labels))
        extractor = ASTFeatureExtractor()
    else:
        config = Wav2Vec2BertConfig(**width, initializer_range=0.2, classifier_proj_size=16, **labels)
        model, extractor = Wav2Vec2BertForSequenceClassification(config), SeamlessM4TFeatureExtractor()
    with torch.no_grad():  # most start at zero, and would not be missed
        for name, parameter in model.named_parameters():
            if "position" in name or name.endswith("_token"):
                parameter.normal_()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def make_recogniser(folder: Path, seed: int = 0) -> Path:
    """A Whisper of two layers with random weights that writes down made-up words, whatever it hears."""
    words = ["[PAD]", "[START]", "[END]", *(f"{first}{then}" for first in "bdgklmn" for then in "aeiou")]
    of_words = WordLevel({word: number for number, word in enumerate(words)}, unk_token="[PAD]")
    special = {"pad_token": "[PAD]", "bos_token": "[START]", "eos_token": "[END]"}
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(of_words), **special).save_pretrained(folder)
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=len(words),
        d_model=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        init_std=1.0,
        pad_token_id=0,
        bos_token_id=1,
        decoder_start_token_id=1,
        eos_token_id=2,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def make_words_teachers(folder: Path) -> str:
    """Two small BERTs with random weights and a tokenizer, as a pattern."""
    for fold in (0, 1):
        texts = ["it was a lovely day", "leave me alone"]
        with_tokenizer = new_classifier(texts, SPEECH_LABELS, NewModel(300, 16, 1, 2), fold, torch.device("cpu"))
        for one in with_tokenizer:
            one.save_pretrained(folder / f"fold-{fold}")
    return f"{folder}/fold-*"


def named(labels) -> dict[str, dict]:
    """Labels as a Transformers configuration has them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def mean_colour_onnx(path: Path, shape: tuple, softmax: bool = False, layout: str = "nchw") -> None:
    """A network whose outputs are the mean of each channel."""
    axes = [2, 3] if layout == "nchw" else [1, 2]
    nodes = [helper.make_node("ReduceMean", ["frames"], ["means"], axes=axes, keepdims=0)]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["means"], ["shares"], axis=1))
    frames = helper.make_tensor_value_info("frames", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("shares" if softmax else "means", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "mean_colour", [frames], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
