/** silt metrics: the state of a store as numbers, as `silt status` sees it; with --prometheus in the text that Prometheus scrapes. */
import type { Command } from "commander";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { judged, type StoreState, storeState } from "./store-state.ts";
import { table } from "./text.ts";

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
interface Metric {
  readonly name: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

export function addMetricsCommand(program: Command, run: Runner): void {
  program
    .command("metrics")
    .description("the store's state as numbers, of every shard")
    .argument("[name]", "one collection; all by default")
    .option("--prometheus", "in the text format of Prometheus, for its textfile collector")
    .action(run(metrics));
}

async function metrics(
  session: Session,
  name: string | undefined,
  { prometheus }: { prometheus?: boolean },
): Promise<Outcome> {
  const { stage, world } = await session.open();
  const state = await storeState(session, name);
  const all = metricsOf(state, world.clock.nowMs());
  const { wrong } = judged(state);
  const text =
    prometheus === true
      ? prometheusText(all, stage)
      : table(
          ["METRIC", "OF", "VALUE"],
          all.flatMap((one) =>
            one.samples.map(({ labels, value }) => [one.name, Object.values(labels).join("/"), value]),
          ),
        );
  // Numbers are the answer, whatever they say; only what could not be looked at is missing.
  const isMissing = wrong.some(({ kind }) => kind !== "corrupt");
  return {
    value: { store: stage, metrics: all },
    text,
    exitCode: isMissing ? exitCodes.unavailable : exitCodes.ok,
  };
}

function metricsOf({ shards, deadLetters, views, lastRun }: StoreState, nowMs: number): Metric[] {
  const ofShards = (
    name: string,
    help: string,
    value: (shard: StoreState["shards"][number]) => number | null | undefined,
  ): Metric => ({
    name,
    help,
    samples: shards.flatMap((shard) => {
      const found = value(shard);
      const labels = { collection: shard.collection, shard: String(shard.shard) };
      return found === null || found === undefined ? [] : [{ labels, value: found }];
    }),
  });
  const ofStore = (name: string, help: string, value: number | null): Metric => ({
    name,
    help,
    samples: value === null ? [] : [{ labels: {}, value }],
  });
  const startedMs = Date.parse(String(lastRun?.startedAt));
  return [
    ofShards("siltstone_version", "Current version of the shard", ({ snapshot }) => snapshot?.version),
    ofShards("siltstone_rows", "Rows stored, superseded ones included", ({ snapshot }) => snapshot?.rows),
    ofShards("siltstone_segments", "Segments of the current version", ({ snapshot }) => snapshot?.segments),
    ofShards("siltstone_bytes", "Bytes of the current version", ({ snapshot }) => snapshot?.bytes),
    ofShards("siltstone_backlog_deltas", "Deltas that wait to be ingested", ({ backlog }) => backlog?.deltas),
    ofShards("siltstone_backlog_oldest_seconds", "Age of the oldest of them", ({ backlog }) =>
      backlog === null ? null : (backlog.oldestMs ?? 0) / 1000,
    ),
    ofShards("siltstone_quarantined_deltas", "Deltas that were put aside", ({ quarantined }) => quarantined),
    ofShards(
      "siltstone_faults",
      "Parts of the shard that are damaged or cannot be read",
      ({ faults }) => faults.length,
    ),
    ofStore("siltstone_dead_letters", "Messages in the dead-letter queue, about", deadLetters),
    ofStore(
      "siltstone_view_faults",
      "Shards that a query process answers from an older version",
      views === null ? null : views.faults.length,
    ),
    ofStore(
      "siltstone_last_run_age_seconds",
      "Since the compactor's last run began",
      Number.isFinite(startedMs) ? Math.max(0, nowMs - startedMs) / 1000 : null,
    ),
  ];
}

function prometheusText(all: readonly Metric[], store: string): string {
  const labelled = (labels: Sample["labels"]): string =>
    Object.entries({ store, ...labels })
      .map(
        ([name, value]) =>
          `${name}="${value.replaceAll(/[\\"\n]/g, (found) => (found === "\n" ? "\\n" : `\\${found}`))}"`,
      )
      .join(",");
  return all
    .filter(({ samples }) => samples.length > 0)
    .flatMap(({ name, help, samples }) => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} gauge`,
      ...samples.map(({ labels, value }) => `${name}{${labelled(labels)}} ${value}`),
    ])
    .join("\n");
}
