"""kubectl and its cluster: absent, without a context, willing, unwilling, silent."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from coworld_actors.doctor.cluster import check_cluster
from coworld_actors.doctor.finding import Status, Surroundings
from tests.doctor.clients import calling, found, script

VERSION = '{"clientVersion": {"gitVersion": "v1.32.4"}}'


def kubectl(directory: Path, auth: str, context: str = "echo home") -> Path:
    return script(
        directory / "bin",
        "kubectl",
        f"""case "$1" in
version) echo '{VERSION}' ;;
config) {context} ;;
auth) echo "$@" > {directory}/asked; {auth} ;;
esac""",
    )


@pytest.mark.parametrize(("drivers", "status"), [((), Status.OK), (("kubectl",), Status.FAIL)])
async def test_without_a_client_there_is_one_line(tmp_path: Path, drivers: tuple[str, ...], status: Status) -> None:
    """Nobody needs it who does not say so."""
    here = Surroundings(drivers=frozenset(drivers), environ={"PATH": str(tmp_path)})
    (finding,) = await check_cluster(here)
    assert (finding.name, finding.status, bool(finding.todo)) == ("kubectl", status, status is Status.FAIL)


@pytest.mark.parametrize(
    ("auth", "status", "words"),
    [
        ("echo yes", Status.OK, "jobs may be created"),
        ("echo 'Warning: resource is not namespace scoped'; echo yes", Status.OK, "jobs may be created"),
        ("echo no; exit 1", Status.FAIL, "may not be created"),
        ("echo 'Unable to connect to the server' >&2; exit 1", Status.FAIL, "Unable to connect"),
        ("exec sleep 1000", Status.FAIL, "no answer in time"),
    ],
)
async def test_the_cluster_is_asked_whether_jobs_may_be_made(
    tmp_path: Path, auth: str, status: Status, words: str
) -> None:
    """By a question that changes nothing, with the context named and the time bounded."""
    with trio.fail_after(60):
        findings = await check_cluster(calling(kubectl(tmp_path, auth), "kubectl", patience=3))
    assert found(findings, "kubectl").status is Status.OK
    finding = found(findings, "cluster")
    assert (finding.status, words in finding.text) == (status, True), finding
    assert "can-i create jobs --context home --request-timeout=" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(("drivers", "status"), [(("process",), Status.OK), (("kubectl",), Status.FAIL)])
async def test_no_context_is_chosen(tmp_path: Path, drivers: tuple[str, ...], status: Status) -> None:
    """Then no cluster is asked, whichever there may be."""
    path = kubectl(tmp_path, "echo yes", context="echo 'error: current-context is not set' >&2; exit 1")
    findings = await check_cluster(calling(path, *drivers))
    assert found(findings, "cluster").status is status
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(("text", "words"), [("echo hello", "no client that we know"), ("exec sleep 99", "within 1 s")])
async def test_another_program_of_that_name(tmp_path: Path, text: str, words: str) -> None:
    """What does not tell its version is not asked anything else."""
    with trio.fail_after(60):
        (finding,) = await check_cluster(calling(script(tmp_path, "kubectl", text), "kubectl", patience=1))
    assert finding.status is Status.FAIL
    assert words in finding.text
