import datetime
import os
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liser_ray.corpora.recordings import input_roots, list_recordings
from liser_ray.media.outcome import Reason
from liser_ray.runtime.errors import UserError


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return folder


def names_of(listing, root):
    return [recording.uri.removeprefix(f"{root}/") for recording in listing.recordings]


def reasons_of(recordings):
    return [recording.problem.reason if recording.problem else None for recording in recordings]


class TestFolder:
    def test_finds_videos_below_in_the_order_of_their_paths(self, tmp_path):
        fill(tmp_path, "b.mp4", "a/2.MOV", "a/1.mkv", "a/deep/er/3.webm", "a-b/1.avi", "a.mp4")
        fill(tmp_path, ".b.mp4", ".cache/c.mp4", "notes.txt", "sub/labels.parquet", "noext")  # passed over
        listing = list_recordings(str(tmp_path))
        names = names_of(listing, tmp_path)
        assert names == ["a-b/1.avi", "a.mp4", "a/1.mkv", "a/2.MOV", "a/deep/er/3.webm", "b.mp4"]
        assert listing.ignored_files == 3  # not the hidden ones

    def test_follows_links_but_not_in_circles_and_no_folder_twice(self, tmp_path):
        fill(tmp_path, "videos/a.mp4", "elsewhere/b.mp4")
        (tmp_path / "videos/up").symlink_to(tmp_path / "videos")
        (tmp_path / "videos/more").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "videos/same").symlink_to(tmp_path / "elsewhere")
        assert names_of(list_recordings(f"{tmp_path}/videos"), tmp_path) == ["videos/a.mp4", "videos/more/b.mp4"]

    def test_what_can_not_be_read_is_a_row_with_a_problem(self, tmp_path):
        fill(tmp_path, "a.mp4")
        (tmp_path / "empty.mp4").touch()
        (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing")
        with open(os.fsencode(tmp_path) + b"/latin-\xe9.mp4", "wb"):
            pass
        recordings = list(list_recordings(str(tmp_path)).recordings)
        assert reasons_of(recordings) == [None, Reason.EMPTY, Reason.MISSING, Reason.READ_ERROR]
        assert recordings[3].uri.endswith("latin-\\xe9.mp4")

    def test_one_file_whatever_its_suffix(self, tmp_path):
        fill(tmp_path, "recording.bin")
        (recording,) = list_recordings(str(tmp_path / "recording.bin")).recordings
        assert recording.uri == str(tmp_path / "recording.bin")

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("{}/nowhere", "no such file"),
            ("{}/empty", "no recordings found among 0 files"),
            ("{}/others", "no recordings found among 2 files"),
            ("https://example.org/a.mp4", "can't read this kind of address"),
        ],
    )
    def test_what_can_not_be_listed_is_said(self, tmp_path, given, words):
        fill(tmp_path, "others/a.txt", "others/b.wav")
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match=words):
            list(list_recordings(given.format(tmp_path)).recordings)


def test_sound_is_listed_where_nobody_needs_to_be_seen(tmp_path):
    fill(tmp_path, "a.mp4", "b.wav", "c.txt")
    assert names_of(list_recordings(str(tmp_path)), tmp_path) == ["a.mp4"]
    listing = list_recordings(str(tmp_path), needs_video=False)
    assert names_of(listing, tmp_path) == ["a.mp4", "b.wav"]
    assert listing.ignored_files == 1


def test_a_labeled_set_has_its_labels_and_speakers_as_columns(tmp_path):
    fill(tmp_path, "Actor_01/03-01-05-01-01-01-01.wav", "Actor_02/03-01-03-01-01-01-02.wav", "README.txt")
    listing = list_recordings(f"ravdess:{tmp_path}", needs_video=False)
    assert listing.extra_schema.names == ["label", "speaker", "text"]
    said = "Kids are talking by the door"
    assert [one.extra for one in listing.recordings] == [("angry", "1", said), ("happy", "2", said)]
    with pytest.raises(UserError, match=r"is read as sound, such as .*\.wav, and a face is required"):
        list_recordings(f"ravdess:{tmp_path}")


class TestManifest:
    def write(self, folder, **columns):
        path = folder / "manifest.parquet"
        pq.write_table(pa.table(columns), path)
        return str(path)

    def test_addresses_are_relative_to_the_manifest(self, tmp_path):
        fill(tmp_path, "lists/a.mp4", "videos/b.mp4", "c.mp4")
        uris = ["a.mp4", "../videos/b.mp4", f"{tmp_path}/c.mp4", f"file://{tmp_path}/videos/b.mp4"]
        listing = list_recordings(self.write(tmp_path / "lists", uri=uris))
        assert listing.total == 4
        assert names_of(listing, tmp_path) == ["lists/a.mp4", "videos/b.mp4", "c.mp4"]
        assert listing.duplicates == 1

    def test_carries_the_other_columns_with_their_types(self, tmp_path):
        fill(tmp_path, "a.mp4", "b.mp4")
        day = datetime.date(2024, 2, 29)
        path = self.write(
            tmp_path,
            speaker=pa.array(["x", None]).dictionary_encode(),
            uri=pa.array(["a.mp4", "b.mp4"]).dictionary_encode(),
            age=pa.array([31, None], pa.int16()),
            day=[day, day],
            tags=[["p", "q"], []],
        )
        listing = list_recordings(path)
        kinds = {one.name: one.type for one in listing.extra_schema}
        assert kinds == {"speaker": pa.string(), "age": pa.int16(), "day": pa.date32(), "tags": pa.list_(pa.string())}
        assert [one.extra for one in listing.recordings] == [("x", 31, day, ["p", "q"]), (None, None, day, [])]

    def test_a_csv_is_text_as_it_stands(self, tmp_path):
        fill(tmp_path, "a.mp4")
        (tmp_path / "m.csv").write_text('speaker,uri,note\n007,a.mp4,"one, two"\n')
        listing = list_recordings(str(tmp_path / "m.csv"))
        assert listing.extra_schema == pa.schema([("speaker", pa.string()), ("note", pa.string())])
        assert [one.extra for one in listing.recordings] == [("007", "one, two")]

    def test_segments_of_a_file_are_recordings_of_their_own(self, tmp_path):
        fill(tmp_path, "media/a.mp4", "media/b.mp4")
        (tmp_path / "m.csv").write_text("uri;end;who;start\na.mp4;2;x;0,5\na.mp4;4.5;y;2\na.mp4;2.0;z;.5\nb.mp4;;x;1\n")
        listing = list_recordings(str(tmp_path / "m.csv"), media_folder=f"{tmp_path}/media")
        found = [(one.uri.rpartition("/")[2], one.segment, one.extra) for one in listing.recordings]
        assert found == [
            ("a.mp4", (0.5, 2.0), (0.5, 2.0, "x")),
            ("a.mp4", (2.0, 4.5), (2.0, 4.5, "y")),
            ("b.mp4", (1.0, None), (1.0, None, "x")),
        ]
        assert listing.extra_schema.names == ["segment_start_s", "segment_end_s", "who"]
        assert listing.duplicates == 1

    def test_a_media_folder_is_for_lists(self, tmp_path):
        fill(tmp_path, "a.mp4")
        for given in (tmp_path, tmp_path / "a.mp4"):
            with pytest.raises(UserError, match="--media_folder is for lists"):
                list_recordings(str(given), media_folder=str(tmp_path))

    @pytest.mark.parametrize("media", ["s3://bucket/videos", "/videos"])
    def test_outside_of_a_media_folder_nothing_is_read(self, tmp_path, media):
        (tmp_path / "m.csv").write_text(f"uri\n/etc/passwd\ns3://other/a.mp4\n{media}/../a.mp4\n")
        roots = input_roots(f"{tmp_path}/m.csv", media, [])
        listing = list_recordings(f"{tmp_path}/m.csv", media_folder=media, roots=roots)
        assert [one.problem.reason for one in listing.recordings] == ["denied"] * 3

    def test_a_row_without_its_file_is_kept_as_missing(self, tmp_path):
        fill(tmp_path, "a.mp4", "folder/b.mp4")
        manifest = self.write(tmp_path, uri=["gone.mp4", "a.mp4", "folder"], speaker=["s", "t", "u"])
        recordings = list(list_recordings(manifest).recordings)
        assert reasons_of(recordings) == [Reason.MISSING, None, Reason.MISSING]
        assert recordings[0].extra == ("s",)

    def test_ten_thousand_rows_come_in_their_order(self, tmp_path):
        names = [f"{number * 7919 % 10_000:05d}.mp4" for number in range(10_000)]
        listing = list_recordings(self.write(tmp_path, uri=names, row=list(range(10_000))))
        assert [one.extra for one in listing.recordings] == [(number,) for number in range(10_000)]

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"video": ["a.mp4"]}, "no column 'uri'. It has: video. A column uri, path or file names"),
            ({"uri": [1, 2]}, "is int64, not text"),
            ({"uri": pa.array([], pa.string())}, "has no rows"),
            ({"uri": ["a.mp4", ""]}, "row 2 has no uri"),
            ({"uri": ["a.mp4", None]}, "row 2 has no uri"),
            ({"uri": ["s3://AKIA:secret@lab//a.mp4"]}, "carries credentials"),
            ({"uri": ["https://example.org/a.mp4"]}, "can't read this kind of address"),
        ],
    )
    def test_a_manifest_that_is_none_is_refused(self, tmp_path, columns, message):
        with pytest.raises(UserError, match=message):
            list(list_recordings(self.write(tmp_path, **columns)).recordings)

    def test_damaged_manifests_are_refused(self, tmp_path):
        (tmp_path / "m.parquet").write_bytes(b"PAR1 it is not")
        (tmp_path / "empty.csv").write_bytes(b"")
        (tmp_path / "ragged.csv").write_text("uri,a\nx.mp4,1\ny.mp4,1,2\n")
        for name in ("m.parquet", "empty.csv", "ragged.csv"):
            with pytest.raises(UserError, match=f"{name} can't be read"):
                list(list_recordings(str(tmp_path / name)).recordings)


MSP_FACE = {
    "segments_data.txt": "1.5\t2.75\tMSP-FACE_0001_0001.mp4\r\n3\t4\tMSP-FACE_0001_0002.mp4\r\n"
    "0.1\t9\tMSP-FACE_0002_0001.mp4\r\n0\t1\tMSP-FACE_0003_0001.mp4\r\n",
    "Doc/speaker_id_segments.txt": "MSP-FACE_0001_0001.mp4,Speaker_264\r\nMSP-FACE_0003_0001.mp4,Speaker_4\r\n",
    "Doc/speaker_id_gender.txt": "Speaker_264,Male\r\nSpeaker_4,Female",
    "label_consensus.json": '{"MSP-FACE_0001_0001.mp4": [{"EmoClass_Major": "H", "EmoAct": "5.4", "EmoDom": "5.0", '
    '"EmoVal": "4.9", "SpkrID": "264", "Gender": "Male", "Split_Set": "Train"}]}',
}


class TestMspFace:
    @pytest.fixture
    def lists(self, tmp_path):
        for name, text in MSP_FACE.items():
            (tmp_path / "lists" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "lists" / name).write_text(text, newline="")
        fill(tmp_path / "media", "more/MSP-FACE_0001.mkv", "MSP-FACE_0001.info.json", "MSP-FACE_0003.MP4", "other.mp4")
        return f"mspface:{tmp_path}/lists"

    def test_segments_whose_videos_are_there_are_listed_and_the_others_counted(self, lists, tmp_path):
        media = f"{tmp_path}/media"
        listing = list_recordings(lists, media_folder=media, roots=input_roots(lists, media, []))
        found = list(listing.recordings)
        assert [(one.uri.removeprefix(f"{media}/"), one.segment, one.problem) for one in found] == [
            ("more/MSP-FACE_0001.mkv", (1.5, 2.75), None),
            ("more/MSP-FACE_0001.mkv", (3.0, 4.0), None),
            ("MSP-FACE_0003.MP4", (0.0, 1.0), None),
        ]
        assert (listing.gone, listing.total) == (1, 3)
        first, second, third = (dict(zip(listing.extra_schema.names, one.extra, strict=True)) for one in found)
        assert first == {
            **{"segment_start_s": 1.5, "segment_end_s": 2.75, "segment": "MSP-FACE_0001_0001.mp4", "SpkrID": "264"},
            **{"Gender": "Male", "EmoClass_Major": "H", "EmoAct": "5.4", "EmoDom": "5.0", "EmoVal": "4.9"},
            "Split_Set": "Train",
        }
        assert (second["SpkrID"], second["Gender"], second["EmoClass_Major"]) == (None, None, None)
        assert (third["SpkrID"], third["Gender"]) == ("4", "Female")

    def test_what_is_missing_or_no_such_list_is_said(self, lists, tmp_path):
        with pytest.raises(UserError, match="give --media_folder, where the videos lie"):
            list_recordings(lists)
        with pytest.raises(UserError, match=r"has no segments_data\.txt"):
            list_recordings(f"mspface:{tmp_path}/media", media_folder=str(tmp_path))
        (tmp_path / "elsewhere").mkdir()
        with pytest.raises(UserError, match=r"has none of the 3 videos of the lists .* MSP-FACE_0001 with any suffix"):
            list_recordings(lists, media_folder=f"{tmp_path}/elsewhere")
        fill(tmp_path / "elsewhere", "MSP-FACE_0001.m4a")
        found = list_recordings(lists, media_folder=f"{tmp_path}/elsewhere", needs_video=False)
        assert found.total == 2
        (tmp_path / "lists/segments_data.txt").write_text("0\tsoon\ta.mp4\n")
        with pytest.raises(UserError, match="not as MSP-Face publishes them"):
            list_recordings(lists, media_folder=str(tmp_path))

    def test_the_published_lists(self, test_data, tmp_path):
        lists = test_data / "msp_face"
        if not lists.is_dir():
            pytest.skip("no msp_face in LISER_TEST_DATA")
        fill(tmp_path, "MSP-FACE_0253.mp4")
        listing = list_recordings(f"mspface:{lists}", media_folder=str(tmp_path))
        found = {one.extra[2]: one for one in listing.recordings}
        assert len(found) + listing.gone == 27_325
        assert found["MSP-FACE_0253_0006.mp4"].extra[3:6] == ("27", "Female", "H")


class TestS3:
    @pytest.fixture(scope="class")
    def bucket(self, s3_store):
        bucket = s3_store.bucket()
        names = [f"videos/{number:02d}.mp4" for number in range(23)]
        names += ["videos/a-b/1.mov", "videos/a/é ü+%.mkv", "videos/a/.hidden.mp4", "videos/.git/x.mp4", "videos/a.txt"]
        names += ["videos/", "videos/out/plan/p.parquet", "videos/out/x.mp4", "videos-2/y.mp4", "text/a.txt"]
        with ThreadPoolExecutor(8) as threads:
            put = s3_store.client.put_object
            list(threads.map(lambda name: put(Bucket=bucket, Key=name, Body=name.encode()), names))
        return bucket

    def test_lists_below_the_prefix(self, bucket):
        root = f"s3://{bucket}/videos"
        listing = list_recordings(f"{root}/", skip_uri=f"{root}/out")
        names = names_of(listing, root)
        assert names == [f"{number:02d}.mp4" for number in range(23)] + ["a-b/1.mov", "a/é ü+%.mkv"]
        assert listing.ignored_files == 1

    def test_an_output_around_it_leaves_nothing_out(self, bucket):
        for root, skipped, names in [("/videos/a-b", "", ["videos/a-b/1.mov"]), ("", "/videos/", ["videos-2/y.mp4"])]:
            listing = list_recordings(f"s3://{bucket}{root}", skip_uri=f"s3://{bucket}{skipped}")
            assert names_of(listing, f"s3://{bucket}") == names

    def test_keys_with_an_empty_part_are_rows_that_say_what_to_do(self, s3_store, tmp_path):
        bucket = s3_store.bucket()
        for key in ("videos//a.mp4", "videos/b.mp4", "/c.mp4"):
            s3_store.client.put_object(Bucket=bucket, Key=key, Body=b"x")
        names = [f"s3://{bucket}/{key}" for key in ("/c.mp4", "videos//a.mp4", "videos/b.mp4")]
        pq.write_table(pa.table({"uri": names}), tmp_path / "m.parquet")
        for given in (f"s3://{bucket}", str(tmp_path / "m.parquet")):
            recordings = list(list_recordings(given).recordings)
            assert [one.uri for one in recordings] == names
            assert reasons_of(recordings) == [Reason.MISSING, Reason.MISSING, None]
            assert all("empty part (//)" in one.problem.detail for one in recordings[:2])
            assert all("rename the object" in one.problem.detail for one in recordings[:2])

    def test_tells_size_and_etag(self, bucket, s3_store):
        (recording,) = list_recordings(f"s3://{bucket}/videos/07.mp4").recordings
        etag = s3_store.client.head_object(Bucket=bucket, Key="videos/07.mp4")["ETag"].strip('"')
        assert (recording.size_bytes, recording.version) == (13, etag)
        from_listing = list(list_recordings(f"s3://{bucket}/videos").recordings)[7]
        assert from_listing == recording

    def test_a_manifest_on_s3(self, bucket, s3_store, tmp_path):
        pq.write_table(pa.table({"uri": ["07.mp4", "gone.mp4", "../videos-2/y.mp4"]}), tmp_path / "m.parquet")
        s3_store.client.upload_file(str(tmp_path / "m.parquet"), bucket, "videos/m.parquet")
        recordings = list(list_recordings(f"s3://{bucket}/videos/m.parquet").recordings)
        s3_store.client.delete_object(Bucket=bucket, Key="videos/m.parquet")
        names = [one.uri.removeprefix(f"s3://{bucket}/") for one in recordings]
        assert names == ["videos/07.mp4", "videos/gone.mp4", "videos-2/y.mp4"]
        assert reasons_of(recordings) == [None, Reason.MISSING, None]

    def test_denied_access_is_said_and_costs_a_manifests_rows(self, bucket, monkeypatch, tmp_path):
        pq.write_table(pa.table({"uri": [f"s3://{bucket}/videos/07.mp4"]}), tmp_path / "m.parquet")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test:nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody")
        with pytest.raises(UserError, match="access denied"):
            list(list_recordings(f"s3://{bucket}/videos").recordings)
        assert reasons_of(list_recordings(str(tmp_path / "m.parquet")).recordings) == [Reason.DENIED]

    def test_what_is_not_there_is_said(self, bucket):
        for uri, words in [
            (f"s3://{bucket}/nothing", "no object has this key"),
            (f"s3://{bucket}/text", "no recordings found among 1 files"),
            ("s3://no-such-bucket-here/videos", "bucket does not exist"),
        ]:
            with pytest.raises(UserError, match=words):
                list(list_recordings(uri).recordings)
