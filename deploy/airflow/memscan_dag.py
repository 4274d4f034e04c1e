"""A nightly scan: eight shares as pods, each with a GPU, then a line that says how far the run is.

A task that Airflow tries again goes on where its share's parts end. Exit code 3 (done, but some rows have errors) is no
failure of the night: the status task shows how many.
"""

import datetime

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.sdk import DAG
from kubernetes.client import models as k8s

IMAGE = "memscan:0.1.0-cuda"
MANIFEST = "s3://audits/prompts/{{ ds }}/*.parquet"
MODEL = "s3://audits/models/sd14"
OUT = "s3://audits/nights/{{ ds }}"
SHARES = 8
CREDENTIALS = Secret("env", None, "memscan-object-store")

with DAG(
    dag_id="memscan",
    schedule="@daily",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": datetime.timedelta(minutes=5)},
) as dag:
    scan = KubernetesPodOperator.partial(
        task_id="scan",
        image=IMAGE,
        secrets=[CREDENTIALS],
        skip_on_exit_code=[3],
        container_resources=k8s.V1ResourceRequirements(limits={"nvidia.com/gpu": "1", "memory": "16Gi"}),
    ).expand(
        arguments=[
            ["run", MANIFEST, "--model", MODEL, "--require-model", "--out", OUT, "--share", f"{share}/{SHARES}"]
            for share in range(SHARES)
        ]
    )
    status = KubernetesPodOperator(
        task_id="status",
        image=IMAGE,
        secrets=[CREDENTIALS],
        arguments=["status", OUT],
        trigger_rule="none_failed",
    )
    scan >> status
