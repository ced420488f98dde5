"""`python -m cluster`: the cluster from a shell or a Makefile."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from cluster import binaries, parts, preflight, process, teardown
from cluster.connect import BACKENDS, choose, connect
from cluster.interface import Cluster, ClusterError
from cluster.kubectl import Kubectl


class _OneLineErrors(click.Group):
    """What a person has to mend is said in one line; only our own mistakes show a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.Abort from None


@click.group(cls=_OneLineErrors, help=__doc__)
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True)
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Of an existing cluster; needs --context.")
@click.option("--context", "kube_context", help="The one context of --kubeconfig that may be used.")
@click.pass_context
def main(ctx: click.Context, backend: str, kubeconfig: Path | None, kube_context: str | None) -> None:
    ctx.obj = (backend, kubeconfig, kube_context)


def _cluster(ctx: click.Context) -> Cluster:
    backend, kubeconfig, kube_context = ctx.obj
    return connect(backend, kubeconfig=kubeconfig, context=kube_context)


@main.command("preflight")
@click.pass_context
def preflight_command(ctx: click.Context) -> None:
    """Say which backend is taken and why, and what is missing."""
    backend, why = choose(*ctx.obj)
    click.echo(f"backend: {backend}, because {why}")
    if backend == "existing":
        return
    findings = preflight.host_findings() if backend == "host" else preflight.kind_findings()
    for finding in findings:
        click.echo(finding)
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@main.command()
@click.pass_context
def up(ctx: click.Context) -> None:
    """Make the cluster whole; the last line is its kubeconfig."""
    cluster = _cluster(ctx)
    cluster.up()
    click.echo(cluster.kubeconfig)


@main.command()
@click.pass_context
def down(ctx: click.Context) -> None:
    """Remove the cluster and all it left behind."""
    _cluster(ctx).delete()


@main.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """Say what runs. Exit status 1 if something is missing."""
    if choose(*ctx.obj)[0] != "host":
        click.echo(_cluster(ctx).kubectl("get", "nodes"))
        return
    found = process.leaders()
    for name in parts.NAMES:
        click.echo(f"{name}: {f'pid {found[name].pid}' if name in found else 'not running'}")
    if not all(name in found for name in parts.NAMES):
        sys.exit(1)


@main.command()
@click.argument("names", nargs=-1)
def build(names: tuple[str, ...]) -> None:
    """Build programs (all of them without NAMES) into the cache; print where they are."""
    for tool in binaries.TOOLS:
        if not names or tool.name in names:
            click.echo(binaries.build(tool) / tool.name)


@main.command()
@click.argument("archives", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.pass_context
def load(ctx: click.Context, archives: tuple[Path, ...]) -> None:
    """Put images from OCI archives on the node; unchanged ones are left alone."""
    cluster = _cluster(ctx)
    for archive in archives:
        click.echo(f"{archive}: {'loaded' if cluster.load_image(archive) else 'there already'}")


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def kubectl(ctx: click.Context, args: tuple[str, ...]) -> None:
    """Run kubectl on the cluster."""
    cluster = _cluster(ctx)
    context = cluster.name if choose(*ctx.obj)[0] == "existing" else None
    sys.exit(subprocess.run(Kubectl(cluster.kubeconfig, context).argv(*args)).returncode)


@main.command()
@click.argument("program")
def tool(program: str) -> None:
    """Print the path of a program (kubectl, helm, …), building it if need be."""
    click.echo(binaries.program(program))


@main.command()
@click.argument("count", type=click.IntRange(min=0))
@click.pass_context
def gpu(ctx: click.Context, count: int) -> None:
    """Let the node claim COUNT GPUs."""
    _cluster(ctx).set_gpus(count)


@main.command()
@click.option("--minutes", type=click.FloatRange(min=0), default=5.0, show_default=True)
@click.pass_context
def audit(ctx: click.Context, minutes: float) -> None:
    """Print who did what in the last minutes."""
    for event in _cluster(ctx).audit_events(datetime.now(UTC) - timedelta(minutes=minutes)):
        about = event.get("objectRef", {})
        target = "/".join(str(about[key]) for key in ("namespace", "resource", "name") if key in about)
        code = event.get("responseStatus", {}).get("code", "")
        click.echo(f"{event['requestReceivedTimestamp']} {event['user']['username']} {event['verb']} {target} {code}")


@main.command()
def leftovers() -> None:
    """Say what of the host cluster is on this machine; nothing after `down`."""
    for line in teardown.leftovers():
        click.echo(line)
