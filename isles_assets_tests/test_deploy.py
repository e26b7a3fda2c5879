"""The examples in `deploy`, read by what reads them: Dagster's configuration, its launchers, Kubernetes' models."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClass

from isles_assets import __version__
from isles_assets_tests.processes import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
VALUES = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
(CODE_LOCATION,) = VALUES["dagster-user-deployments"]["deployments"]
SETTINGS = set(re.findall(r"^# ((?:ISLES|HF)_\w+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))
IMAGE = f"{CODE_LOCATION['image']['repository']}:{CODE_LOCATION['image']['tag']}"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: me, user: {}}]
"""


def snake(content: Any, depth: int) -> Any:
    """What Helm's chart makes of values: names with underscores, down to some depth."""
    if not isinstance(content, dict) or not depth:
        return content
    return {re.sub("([A-Z])", r"_\1", name).lower(): snake(value, depth - 1) for name, value in content.items()}


def instance(folder: Path, content: dict[str, Any]) -> InstanceRef:
    """Dagster's reading of a `dagster.yaml`, which raises for what is not in its schema."""
    (folder / "dagster.yaml").write_text(yaml.safe_dump(content))
    return InstanceRef.from_dir(str(folder))


def launcher_of(ref: InstanceRef) -> Any:
    """The run launcher, which raises for what is not in its own schema. It has asked nobody anything yet."""
    kind: Any = ConfigurableClass  # abstract, which mypy does not let a type be
    assert ref.run_launcher_data is not None
    return ref.run_launcher_data.rehydrate(as_type=kind)


def test_the_instance_on_ray_fails_lost_runs_and_starts_them_once_more(tmp_path, monkeypatch):
    pytest.importorskip("dagster_ray", reason="needs pip install '.[cluster]'")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    ref = instance(tmp_path, yaml.safe_load((DEPLOY / "ray" / "dagster.yaml").read_text()))
    launcher = launcher_of(ref)
    assert (launcher.address, launcher.num_cpus) == ("http://127.0.0.1:1", 1)
    assert launcher.supports_check_run_worker_health
    assert ref.settings["run_monitoring"]["enabled"]
    assert ref.settings["run_retries"] == {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}


def test_the_instance_on_kubernetes_fails_lost_runs_and_starts_them_once_more(tmp_path):
    ref = instance(
        tmp_path,
        {"run_monitoring": snake(VALUES["dagsterDaemon"]["runMonitoring"], 1), **VALUES["additionalInstanceConfig"]},
    )
    assert ref.settings["run_monitoring"]["enabled"]
    assert ref.settings["run_retries"] == {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}


@pytest.fixture
def run_job(tmp_path) -> dict[str, Any]:
    """The job of a run, as the launcher sends it to Kubernetes."""
    pytest.importorskip("dagster_k8s", reason="needs pip install '.[kubernetes]'")
    import kubernetes
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job

    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    config = snake(VALUES["runLauncher"]["config"]["k8sRunLauncher"], 2) | {
        "load_incluster_config": False,
        "kubeconfig_file": str(tmp_path / "kubeconfig"),
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": "/opt/dagster/dagster_home",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
    }
    ref = instance(tmp_path, {"run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config}})
    launcher = launcher_of(ref)
    of_launcher = K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(launcher.run_k8s_config))
    of_location = K8sContainerContext.create_from_config(
        {
            "k8s": {
                "env_config_maps": ["isles-assets-user-env"],
                "env_secrets": [secret["name"] for secret in CODE_LOCATION["envSecrets"]],
                "volumes": CODE_LOCATION["volumes"],
                "volume_mounts": CODE_LOCATION["volumeMounts"],
            }
        }
    )
    context = of_launcher.merge(of_location)
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(IMAGE, launcher), ["dagster"], "run", user_defined_k8s_config=context.run_k8s_config
    )
    return dict(kubernetes.client.ApiClient().sanitize_for_serialization(job))


def test_a_run_on_kubernetes_has_the_image_the_volume_the_cores_and_its_secrets_by_name(run_job):
    pod = run_job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert {"secretRef": {"name": "isles-hub"}} in container["envFrom"]
    assert {entry["name"]: entry.get("valueFrom") for entry in container["env"]}["DAGSTER_PG_PASSWORD"] == {
        "secretKeyRef": {"name": "isles-postgresql", "key": "postgresql-password"}
    }
    claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (claims["isles"], mounts["isles"]) == ({"claimName": "isles"}, "/isles")
    assert container["resources"]["requests"]["cpu"] == CODE_LOCATION["env"]["ISLES_WORKERS"]
    assert (pod["restartPolicy"], run_job["spec"]["backoffLimit"]) == ("Never", 0)  # Dagster starts it again, none else
    assert pod["securityContext"] == {"fsGroup": 1000}


def test_settings_of_runs_on_kubernetes_are_known_and_their_folders_on_the_volume():
    assert CODE_LOCATION["env"].keys() < SETTINGS
    (mount,) = CODE_LOCATION["volumeMounts"]
    for folder in ("ISLES_RAW_ROOT", "ISLES_DATA_DIR"):
        assert Path(CODE_LOCATION["env"][folder]).parent == Path(mount["mountPath"])


def test_the_claim_is_one_that_many_machines_may_write_to():
    pytest.importorskip("dagster_k8s", reason="needs pip install '.[kubernetes]'")
    import kubernetes
    from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

    model = kubernetes.client.V1PersistentVolumeClaim
    content = yaml.safe_load((KUBERNETES / "volume.yaml").read_text())
    claim = k8s_model_from_dict(model, k8s_snake_case_dict(model, content))
    assert claim.spec.access_modes == ["ReadWriteMany"]
    assert [{"name": claim.metadata.name, "persistentVolumeClaim": {"claimName": "isles"}}] == CODE_LOCATION["volumes"]


def test_the_image_is_made_of_what_there_is():
    lines = (KUBERNETES / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            assert all((REPOSITORY / name).exists() for name in line.split()[1:-1]), line
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (install,) = (line for line in lines if "pip install" in line)
    (extra,) = re.findall(r"\.\[(\w+)\]", install)
    assert extra in project["optional-dependencies"]
    assert IMAGE.endswith(f":{__version__}")


def test_no_example_holds_a_secret():
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            assert not re.search(r"(?i)(token|password)\s*[:=]\s*[\"']?[a-z0-9]", file.read_text()), file
