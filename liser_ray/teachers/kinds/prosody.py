"""A residual network on descriptors of the voice, of a whole span at a time: EmoDistill's prosodic teacher.

`jobs/finetune_prosody_teacher.py` trains them.
"""

from dataclasses import dataclass

from liser_ray.teachers.kinds import later
from liser_ray.teachers.targets import Takes

TAKES: Takes = "sound"


@dataclass(frozen=True)
class Options:
    """Which prosodic teacher, or teachers.

    Attributes:
        weights: a folder that finetune_prosody_teacher.py has made, here or on S3. Its last part may be a pattern, such
            as out/prosody/fold-*: its folders give targets of their own (NAME_fold_0 ...).
        batch_size: spans per forward pass.
        embedding: store for each span also the vector that the last layer reads, in float16.
    """

    weights: str = ""
    batch_size: int = 16
    embedding: bool = True


load = later("liser_ray.teachers.prosody.teacher", "load_prosody_teacher")
