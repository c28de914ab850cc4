/** silt jobs …: items that the store embeds, and the work on them (docs/jobs.md). */
import { type Command, Option } from "commander";
import { priorities, statuses } from "../../lib/jobs/item.ts";
import { instant, integer } from "./arguments.ts";
import { addDlqCommands, ofJobs } from "./dlq-commands.ts";
import {
  cancelOne,
  cleanUp,
  cleanUpStuck,
  clear,
  configSet,
  configShow,
  retryFailed,
  retryOne,
  setState,
} from "./jobs-changes.ts";
import { debug, metrics } from "./jobs-debug.ts";
import { exportJobs, health, inspect, item, list, ready, recent, report, stats } from "./jobs-views.ts";
import { monitor, tail, waitForCompletion } from "./jobs-watching.ts";
import type { Runner } from "./runner.ts";

const confirmOption = () => new Option("--confirm <stage>", "the stage's name once more");
const collectionOption = () => new Option("--collection <name>", "only of this collection");
const filterOptions = () => [
  new Option("--status <status>", "only these").choices(statuses),
  new Option("--priority <priority>", "only these").choices(priorities),
  new Option("--since <time>", "that ended, or are due, since then").argParser(instant),
  collectionOption(),
  new Option("--source <text>", "of whom or what they are, as their saver said"),
  new Option("--operation <id>", "of one call, by its operation id"),
];
/** Longer than any run takes. */
const minutesMax = 100_000;

export function addJobsCommands(program: Command, run: Runner): void {
  const jobs = program.command("jobs").description("items that the store embeds, and the work on them");
  jobs.command("stats").description("jobs by status now, and by their end ever").action(run(stats));
  jobs
    .command("health")
    .description("what is out of bounds, with advice; exit code 1 when anything is")
    .action(run(health));
  jobs
    .command("ready")
    .description("whether a deployment may go on: nothing fails, nothing is stuck; exit code 1 when not")
    .action(run(ready));
  addFilters(jobs.command("list").description("jobs, the latest first"))
    .option("--limit <n>", "at most so many", integer(1, 100_000), 100)
    .action(run(list));
  jobs
    .command("inspect")
    .description("one job by its ULID, also one that has ended")
    .argument("<job>")
    .action(run(inspect));
  jobs
    .command("debug")
    .description(
      "why a job is where it is, with its chunks as they are stored; exit code 1 when something is to be done",
    )
    .argument("<job>")
    .action(run(debug));
  jobs
    .command("metrics")
    .description("numbers of the jobs that ended lately, and of what waits")
    .option("--hours <n>", "that ended within so many", integer(1, 8_760), 24)
    .action(run(metrics));
  jobs
    .command("item")
    .description("an item: its newest save, its job, its chunks")
    .argument("<collection>")
    .argument("<item>")
    .action(run(item));
  jobs
    .command("recent")
    .description("what ended last")
    .option("--limit <n>", "at most so many", integer(1, 10_000), 20)
    .action(run(recent));
  jobs
    .command("report")
    .description("failures by reason, throughput, what waits, and what was done by hand")
    .action(run(report));
  addFilters(jobs.command("export").description("jobs as lines of JSON, without their texts")).action(
    run(exportJobs),
  );
  jobs
    .command("retry")
    .description("run a failed job again")
    .argument("<job>", "its ULID")
    .option("--force", "also one that has had all its attempts, or was cancelled")
    .action(run(retryOne));
  addFilters(jobs.command("retry-failed").description("run failed jobs again"), ["status", "priority"])
    .option("--reason <text>", "only those with it in their error")
    .option("--force", "also those that have had all their attempts")
    .option("--dry-run", "only count them")
    .action(run(retryFailed));
  jobs
    .command("cancel")
    .description("stop a job that waits or runs; the item's former chunks stay")
    .argument("<job>", "its ULID")
    .action(run(cancelOne));
  jobs
    .command("clear")
    .description("cancel jobs that wait, run or failed; nothing is cancelled without --confirm")
    .addOption(new Option("--status <status>", "only these").choices(["pending", "processing", "failed"]))
    .option("--reason <text>", "only those with it in their error")
    .option("--all", "every one of them")
    .addOption(collectionOption())
    .addOption(confirmOption())
    .action(run(clear));
  jobs
    .command("cleanup")
    .description("forget items of collections that were deleted, and texts on S3 that no item names")
    .option("--dry-run", "only count them")
    .action(run(cleanUp));
  jobs
    .command("cleanup-stuck")
    .description("give jobs back whose runs are over, or began long ago")
    .option("--older <minutes>", "runs that began before", integer(0, minutesMax), 30)
    .action(run(cleanUpStuck));
  addWatching(jobs, run);
  for (const [name, state, description] of [
    ["pause", "paused", "begin no job; what runs ends, items are saved all the same"],
    ["resume", "running", "go on, and wake all that waits"],
    ["emergency-stop", "stopped", "begin no job, call no provider: runs give back what they have"],
  ] as const)
    jobs
      .command(name)
      .description(description)
      .action(run(setState(state)));
  const config = jobs.command("config").description("what can be changed while workers run");
  config.command("show").description("each setting, its range and what it means").action(run(configShow));
  config
    .command("set")
    .description("change settings: concurrency=4 batchItems=100 …")
    .argument("<name=value...>")
    .action(run(configSet));
  addDlqCommands(jobs, run, ofJobs);
}

function addWatching(jobs: Command, run: Runner): void {
  jobs
    .command("monitor")
    .description("a line every few seconds: what waits, rates, the oldest, time left, errors by kind")
    .option("--every <seconds>", "between two lines", integer(1, 3_600), 5)
    .option("--times <n>", "so many lines, and then end", integer(1, 1_000_000))
    .action(run(monitor));
  jobs
    .command("tail")
    .description("jobs as they end, until Ctrl-C")
    .option("--since <time>", "from then on", instant)
    .option("--times <n>", "looks, and then end", integer(1, 1_000_000))
    .action(run(tail));
  jobs
    .command("wait-for-completion")
    .description(
      "until no job waits or runs; exit code 1 when some failed meanwhile, 5 when it takes too long",
    )
    .option("--timeout <seconds>", "at most so long", integer(1, 1_000_000), 600)
    .action(run(waitForCompletion));
}

function addFilters(command: Command, without: readonly string[] = []): Command {
  for (const option of filterOptions())
    if (!without.includes(option.attributeName())) command.addOption(option);
  return command;
}
