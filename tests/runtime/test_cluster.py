"""cluster.yaml, the KubeRay manifest and the settings of the labeling job that belong to them."""

import os
import re
import traceback
import zipfile
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.kuberay.autoscaling_config import _node_type_from_group_spec
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.exceptions import ActorDiedError, RayTaskError

from liser_ray.commands.settings import parse_settings
from liser_ray.labeling.config import LabelConfig, fit_pools
from liser_ray.runtime import cluster as ours
from liser_ray.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster.yaml"
JOB = ROOT / "deploy/kuberay/label-job.yaml"
SETTINGS = ROOT / "configs/cluster/label.yaml"

# vCPUs, GiB, GPUs
INSTANCE_TYPES = {"m6a.xlarge": (4, 16, 0), "m6a.4xlarge": (16, 64, 0), "g6.2xlarge": (8, 32, 1)}


@pytest.fixture(scope="module")
def cluster():
    return yaml.safe_load(CLUSTER.read_text())


@pytest.fixture(scope="module")
def rayjob():
    (job,) = (one for one in yaml.safe_load_all(JOB.read_text()) if one["kind"] == "RayJob")
    return job


@pytest.fixture(scope="module")
def settings():
    return parse_settings(LabelConfig, "", ["--config", str(SETTINGS)], lists=("--teachers",))


def test_ray_takes_the_cluster(cluster):
    validate_config(prepare_config(cluster))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(cluster | {"max_worker": 1}))


def test_nodes_have_what_their_instance_types_have(cluster):
    for name, node_type in cluster["available_node_types"].items():
        cpus, _, gpus = INSTANCE_TYPES[node_type["node_config"]["InstanceType"]]
        assert node_type["resources"]["CPU"] <= cpus, name
        assert node_type["resources"].get("GPU", 0) == gpus, name
    gpu = cluster["available_node_types"]["gpu"]
    assert gpu["resources"]["CPU"] <= INSTANCE_TYPES[gpu["node_config"]["InstanceType"]][0] - 2  # the teachers' own
    assert gpu["docker"]["worker_run_options"] == ["--gpus all"]  # the image has no CUDA, and asks for no GPU itself


def test_the_head_works_not_and_stays_while_workers_are_spot_and_no_node_is_open_to_the_world(cluster):
    types = cluster["available_node_types"]
    # Ray makes a group with SSH open to all for node types that name none
    assert all(one["node_config"]["SecurityGroupIds"] for one in types.values())
    head = types[cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    workers = [one for name, one in types.items() if name != cluster["head_node_type"]]
    assert all(one["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for one in workers)
    assert all(one["min_workers"] == 0 for one in workers)
    assert sum(one["max_workers"] for one in workers) == cluster["max_workers"]


def test_the_pools_are_what_the_grown_cluster_holds(cluster, settings):
    types = [one for one in cluster["available_node_types"].values() if one["resources"]["CPU"]]
    nodes = [(one["resources"]["CPU"], one["resources"].get("GPU", 0), one["max_workers"]) for one in types]
    pools = fit_pools(settings, 0, 0)  # as the job starts, before any worker
    per_media, per_teachers = pools.media.num_cpus, sum(one.num_gpus for one in pools.teachers.values())
    media = sum(int((cpus + 1e-9) // per_media) * count for cpus, _, count in nodes)
    teachers = sum(int((gpus + 1e-9) // per_teachers) * count for _, gpus, count in nodes)
    assert pools.media.actors == media
    assert {name: one.actors for name, one in pools.teachers.items()} == {"clips": teachers, "sound": teachers}
    # Ray's own steps ask for whole CPUs and would wait for ever where actors can take all, after a lost node too
    assert 1 <= min(cpus - int((cpus + 1e-9) // per_media) * per_media for cpus, *_ in nodes) < per_media


def test_nodes_have_the_laptops_ray_and_python_what_is_mounted_and_their_region(cluster, rayjob):
    version = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    image = f"rayproject/ray:{version}-py311"
    assert cluster["docker"]["image"] == image
    assert f"FROM {image}\n" in (ROOT / "deploy/Dockerfile").read_text()
    assert rayjob["spec"]["rayClusterSpec"]["rayVersion"] == version
    for remote, local in cluster["file_mounts"].items():
        assert local.startswith("~/") or (ROOT / local).is_file(), local
        assert remote.startswith("/home/ray/liser/")
    assert cluster["setup_commands"] == ["bash /home/ray/liser/install.sh /home/ray/liser"]
    provider = cluster["provider"]
    assert f"-e AWS_REGION={provider['region']}" in cluster["docker"]["run_options"]
    assert re.fullmatch(provider["region"] + "[a-z]", provider["availability_zone"])  # one: traffic between is billed


def test_calls_need_a_token_and_the_dashboard_is_not_on_the_network(cluster, rayjob):
    options = cluster["docker"]["run_options"]
    assert "-e RAY_AUTH_MODE=token" in options
    (path,) = (one.split("=")[1] for one in options if "RAY_AUTH_TOKEN_PATH" in one)
    assert cluster["file_mounts"][path] == "~/.ray/auth_token"
    assert any("--dashboard-host=127.0.0.1" in one for one in cluster["head_start_ray_commands"])
    assert rayjob["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("path", [CLUSTER, JOB, SETTINGS, ROOT / "deploy/Dockerfile"], ids=lambda path: path.name)
def test_no_secret_is_in_a_file(path):
    text = path.read_text()
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|PRIVATE KEY|hf_[A-Za-z0-9]{20}", text)
    assert not re.search(r"(?i)(secret_access_key|access_key_id|aws_session_token|RAY_AUTH_TOKEN\b|password)", text)


def test_kubernetes_gets_the_same_nodes(cluster, rayjob):
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    spec = rayjob["spec"]["rayClusterSpec"]
    assert spec["enableInTreeAutoscaling"]
    assert _node_type_from_group_spec(spec["headGroupSpec"], is_head=True)["resources"]["CPU"] == 0
    groups = {one["groupName"]: one for one in spec["workerGroupSpecs"]}
    types = cluster["available_node_types"]
    assert set(groups) == set(types) - {cluster["head_node_type"]}
    for name, group in groups.items():
        as_ray_sees_it = _node_type_from_group_spec(group, is_head=False)  # the autoscaler's own reading
        assert as_ray_sees_it["min_workers"] == types[name]["min_workers"]
        assert as_ray_sees_it["max_workers"] == types[name]["max_workers"]
        for resource in ("CPU", "GPU"):
            assert as_ray_sees_it["resources"].get(resource, 0) == types[name]["resources"].get(resource, 0), name


def test_pods_fit_their_nodes_and_all_have_a_role_in_place_of_keys(cluster, rayjob):
    documents = {one["kind"]: one for one in yaml.safe_load_all(JOB.read_text())}
    account = documents["ServiceAccount"]["metadata"]
    assert "eks.amazonaws.com/role-arn" in account["annotations"]
    spec = rayjob["spec"]["rayClusterSpec"]
    types = cluster["available_node_types"]
    assert all(one["node_config"]["IamInstanceProfile"] for one in types.values())
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        instance_type = types[group.get("groupName", "head")]["node_config"]["InstanceType"]
        cpus, memory_gib, gpus = INSTANCE_TYPES[instance_type]
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == account["name"]
        assert pod["nodeSelector"].get("node.kubernetes.io/instance-type", instance_type) == instance_type
        resources = pod["containers"][0]["resources"]
        assert int(resources["requests"]["cpu"]) < cpus  # the rest is Kubernetes' own
        assert int(resources["requests"]["memory"].removesuffix("Gi")) < 0.9 * memory_gib
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert resources["limits"].get("nvidia.com/gpu", 0) == gpus


def test_the_kubernetes_job_runs_these_settings_and_is_tried_again(rayjob):
    spec = rayjob["spec"]
    assert spec["entrypoint"] == "python jobs/label_corpus.py --config configs/cluster/label.yaml"
    assert all((ROOT / one).is_file() for one in spec["entrypoint"].split() if "/" in one)
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"]
    folder = re.search(r"^WORKDIR (.+)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)[1]
    assert yaml.safe_load(spec["runtimeEnvYAML"]) == {"working_dir": f"local://{folder}"}
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]
    (mount,) = head["spec"]["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == f"{folder}/configs/cluster"
    budget = next(one for one in yaml.safe_load_all(JOB.read_text()) if one["kind"] == "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"] == head["metadata"]["labels"]


def test_a_submitted_job_takes_the_code_and_leaves_the_rest(tmp_path):
    """What `ray job submit --working-dir .` uploads, by Ray's own function."""
    code = ["jobs/label_corpus.py", "liser_ray/student/data/stream.py", "configs/cluster/label.yaml", "constraints.txt"]
    large = [".git/objects/a", ".venv/lib/torch.so", "out/demo/labels/a.parquet", "data/RAVDESS/a.wav", "weights/s.pth"]
    for name in code + large:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in (".gitignore", ".rayignore"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    package = tmp_path.with_suffix(".zip")
    create_package(str(tmp_path), package, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    names = {name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/")}
    assert names == {*code, ".gitignore", ".rayignore"}


def test_our_own_ray_takes_no_more_cores_than_this_process_may_use(monkeypatch):
    """As in a container, or a job of Slurm, on a larger machine."""
    asked = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **options: asked.update(options))
    monkeypatch.setattr(ours, "_started_by_us", False)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        ours.start_ray()
    finally:
        os.sched_setaffinity(0, allowed)
    assert asked["num_cpus"] == 1 + ours.CPUS_FOR_RAY


@pytest.mark.parametrize("where", ["task", "constructor"])
@pytest.mark.parametrize("kind", [UserError, ValueError])
def test_a_workers_error_in_the_users_words_is_one_here(where, kind):
    try:
        raise kind("Put the folder on PYTHONPATH.")
    except kind as error:
        of_task = RayTaskError("load", traceback.format_exc(), error)
    raised = of_task if where == "task" else ActorDiedError(of_task)
    with pytest.raises(UserError if kind is UserError else type(raised)) as found, ours.users_errors():
        raise raised
    assert kind is ValueError or str(found.value) == "Put the folder on PYTHONPATH."
