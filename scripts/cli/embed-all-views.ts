/** What `silt embed-all` prints. */
import type { Collection } from "../../lib/core/model/collection.ts";
import { pricesAsOf } from "../../lib/core/policy/cost/prices.ts";
import type { Analysis } from "../../lib/jobs/embed-all/analysis.ts";
import {
  type BulkCounts,
  type BulkStatus,
  batchItemsFor,
  isUnderWay,
} from "../../lib/jobs/embed-all/bulk-run.ts";
import type { BulkRun } from "../../lib/jobs/ports.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import { bytes, duration, pairs, plural, table } from "./text.ts";

const count = (value: number): string => value.toLocaleString("en-US");
const dollars = (value: number): string =>
  `$${value < 0.01 && value > 0 ? value.toPrecision(2) : value.toFixed(2)}`;

export function analysisOutcome({ name }: Collection, found: Analysis, inCall: boolean): Outcome {
  const { total, standings, toEmbed, estimate, sources, unreadable } = found;
  const { seconds, tokens, tokensPerByte, chunksPerSecond } = estimate;
  const { provider, aws } = estimate.dollars;
  const isDone = toEmbed.items === 0 && standings.unreadable === 0;
  const rows = {
    items: count(total),
    with: count(standings.with),
    without: count(standings.without),
    stale: count(standings.stale),
    failed: count(standings.failed),
    pending: count(standings.pending),
    ...(standings.unreadable > 0 ? { unreadable: count(standings.unreadable) } : {}),
  };
  const estimated = {
    "to embed": `${plural(toEmbed.items, "item")}, ${plural(toEmbed.chunks, "chunk")}, ${bytes(toEmbed.bytes)}`,
    time:
      seconds === null
        ? "unknown: too few were embedded lately; measure with --stage 1"
        : `${duration(seconds * 1_000)}${chunksPerSecond === null ? "" : `, at ${chunksPerSecond.toFixed(1)} chunks a second`}`,
    tokens:
      tokens === null
        ? "none counted"
        : `${tokensPerByte === null ? "at most " : ""}${count(tokens)}${tokensPerByte === null ? ", by the profile" : ", as measured"}`,
    cost: `${provider === null ? "provider unknown: give --price" : `provider ${dollars(provider)}`}, AWS ${dollars(aws)} (list prices of ${pricesAsOf})`,
  };
  return {
    value: { collection: name, inCall, ...found },
    text: [
      pairs(rows),
      "",
      ...(isDone ? ["nothing is to be embedded"] : [pairs(estimated)]),
      ...(sources.length > 0 && sources.some(({ source }) => source !== "")
        ? [
            "",
            table(
              ["ITEMS", "SOURCE"],
              sources.map((one) => [one.items, one.source]),
            ),
          ]
        : []),
      ...(unreadable.length > 0
        ? [
            "",
            table(
              ["UNREADABLE", "WHY"],
              unreadable.map((one) => [one.item, one.reason]),
            ),
          ]
        : []),
      ...(inCall ? ["", "its items are embedded in the call: see `silt embed-all NAME rollback`"] : []),
    ].join("\n"),
    next: toEmbed.items > 0 ? [`to queue them: silt embed-all ${name} run --dry-run, then without`] : [],
    exitCode: standings.unreadable > 0 ? exitCodes.failure : exitCodes.ok,
  };
}

export function runOutcome(
  run: BulkRun,
  counts: BulkCounts,
  { dryRun, isInterrupted }: { readonly dryRun: boolean; readonly isInterrupted: boolean },
): Outcome {
  const { looked, embedded, pending, deleted, unreadable, before, later, queued, changed } = counts;
  const { collection, id } = run;
  const batchItems = batchItemsFor(looked);
  return {
    value: { run: dryRun ? null : id, dryRun, interrupted: isInterrupted, ...counts },
    text: [
      `${dryRun ? "would queue" : "queued"} ${plural(queued, "item")}${dryRun ? "" : ` as run ${id}`}: ${counts.without} without, ${counts.stale} stale, ${counts.failed} failed`,
      pairs({
        looked: looked,
        embedded,
        pending,
        ...(deleted > 0 ? { deleted } : {}),
        ...(unreadable > 0 ? { unreadable } : {}),
        ...(before > 0 ? { "queued before": before } : {}),
        ...(later > 0 ? { "in later stages": later } : {}),
        ...(changed > 0 ? { "changed meanwhile": changed } : {}),
      }),
    ].join("\n"),
    next: [
      ...(isInterrupted ? [`to go on: silt embed-all ${collection} run --resume ${id}`] : []),
      ...(dryRun || queued === 0 || isInterrupted
        ? []
        : [
            `to watch it: silt embed-all ${collection} status ${id} --follow`,
            `so many go faster in larger batches: silt jobs config set batchItems=${batchItems}`,
          ]),
      ...(later > 0 && !dryRun ? [`the next stage: silt embed-all ${collection} run --stage 100`] : []),
    ],
  };
}

export function statusOutcome(status: BulkStatus, { failed }: { readonly failed: boolean }): Outcome {
  const { run, now, superseded, failures } = status;
  const isOver = !isUnderWay(status);
  const { with: embedded, deleted, ...others } = now;
  const left = Object.fromEntries(Object.entries(others).filter(([, value]) => value > 0));
  return {
    value: { ...status, failures: failed ? failures : undefined, isOver },
    text: [
      `run ${run.id}${run.tag === null ? "" : ` (${run.tag})`} of ${run.collection}: ${plural(run.queued, "item")} queued, ${run.state}`,
      pairs({
        embedded: embedded + deleted,
        ...left,
        ...(superseded > 0 ? { "saved anew since": superseded } : {}),
      }),
      ...(failed && failures.length > 0
        ? [
            table(
              ["ITEM", "JOB", "ERROR"],
              failures.map(({ item, job, error }) => [
                item,
                job,
                error === null ? "" : `${error.kind}: ${error.message}`,
              ]),
            ),
          ]
        : []),
    ].join("\n"),
    next:
      run.state === "interrupted"
        ? [`to go on: silt embed-all ${run.collection} run --resume ${run.id}`]
        : now.failed > 0
          ? ["once the cause is mended: silt jobs retry-failed --force"]
          : [],
    exitCode: isOver && now.failed > 0 ? exitCodes.failure : exitCodes.ok,
  };
}
