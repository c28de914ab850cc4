/**
 * A user's process beside the functions: writes through the producer library, and collects garbage with a retention
 * short enough that garbage collection finds something in a drill of minutes. The drill kills it like everything else.
 */
import { awsNames, awsWorld } from "../../lib/aws/aws-world.ts";
import {
  createProducer,
  type ProduceAnswer,
  type ProduceCall,
  SiltstoneError,
} from "../../lib/clients/producer.ts";
import { type CollectReport, collectGarbage } from "../../lib/engine/compact/collect-garbage.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import type { Retention } from "../../lib/engine/shard/retention.ts";

export type LibraryTask =
  | { readonly kind: "produce"; readonly call: ProduceCall }
  | { readonly kind: "collect"; readonly collection: string; readonly retention: Retention };
export type LibraryResult = ProduceAnswer | readonly CollectReport[];
export type LibraryAnswer =
  | { readonly kind: "done"; readonly result: LibraryResult }
  | { readonly kind: "failed"; readonly errorKind: string; readonly message: string };

const outputs = JSON.parse(process.argv[2]!) as Readonly<Record<string, string>>;
const names = awsNames((name) => outputs[name]!);
const producer = createProducer(names);
const world = awsWorld(names);

async function run(task: LibraryTask): Promise<LibraryResult> {
  if (task.kind === "produce") return producer.produce(task.call);
  const collection = await readCollection(world.store, task.collection);
  const reports: CollectReport[] = [];
  for (let shard = 0; shard < collection.shards; shard++)
    reports.push(await collectGarbage(world, collection, shard, { retention: task.retention }));
  return reports;
}

process.on("message", (task) => {
  void run(task as LibraryTask)
    .then((result): LibraryAnswer => ({ kind: "done", result }))
    .catch((error): LibraryAnswer => {
      const errorKind = error instanceof SiltstoneError ? error.kind : "internal";
      return { kind: "failed", errorKind, message: error instanceof Error ? error.message : String(error) };
    })
    .then((answer) => process.send?.(answer));
});
process.once("disconnect", () => process.exit(0));
