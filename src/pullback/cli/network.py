"""Verbs for networks of workers."""

from __future__ import annotations

from .base import as_json, data_dir, experiment_file, main, options, page, say, settings


@main.command()
@experiment_file
@options(settings, data_dir, as_json)
@page("topology.html")
def topology(file, settings, data_dir, as_json, out) -> None:
    """Say what the network of FILE costs and promises, before it trains.

    Told are messages and bytes, the busiest worker, how fast workers come to agree and on what,
    seconds for given links, what breaks when a link or a worker dies, and who gets which data.
    """
    from .. import config, experiment
    from ..peers import partition_text
    from ..report.topology import text, write_topology

    plan = config.read(file, settings)
    row, partition = experiment.survey_network(plan, data_dir)
    page = write_topology(row, out, name=plan.name, partition=partition)
    result = {"network": row, "partition": partition, "page": str(page)}
    dealt = partition_text(partition, partition["classes"])
    say(result, as_json, "\n".join([text(row), dealt, f"Page: {page}"]))
