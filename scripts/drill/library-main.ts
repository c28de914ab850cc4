/**
 * A user's process beside the functions: writes through the producer library, and collects garbage with a retention
 * short enough that a drill of minutes sees something collected. The drill kills it like everything else.
 */
import { awsWorld } from "../../lib/aws/aws-world.ts";
import {
  createProducer,
  type ProduceAnswer,
  type ProduceCall,
  SiltstoneError,
} from "../../lib/aws/producer.ts";
import { output } from "../../lib/contract.ts";
import { type CollectReport, collectGarbage } from "../../lib/engine/collect-garbage.ts";
import { readCollection } from "../../lib/engine/head.ts";
import type { Retention } from "../../lib/engine/retention.ts";

export type LibraryTask =
  | { readonly kind: "produce"; readonly call: ProduceCall }
  | { readonly kind: "collect"; readonly collection: string; readonly retention: Retention };
export type LibraryResult = ProduceAnswer | readonly CollectReport[];
export type LibraryAnswer =
  | { readonly kind: "done"; readonly result: LibraryResult }
  | { readonly kind: "failed"; readonly errorKind: string; readonly message: string };

const outputs = JSON.parse(process.argv[2]!) as Readonly<Record<string, string>>;
const names = {
  bucket: outputs[output.bucket]!,
  table: outputs[output.table]!,
  queueUrl: outputs[output.queueUrl]!,
  deadLetterQueueUrl: outputs[output.deadLetterQueueUrl]!,
};
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
