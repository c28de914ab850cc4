/** The stack's outputs by which the command line finds what a store consists of. */
import { CfnOutput } from "aws-cdk-lib";
import { functions, jobOutputs, storeOutputs } from "../contract/functions.ts";
import { env } from "../contract/names.ts";
import { calleeName } from "./handler-function.ts";
import type { Jobs } from "./jobs.ts";
import type { VectorStore } from "./vector-store.ts";

export function addOutputs(store: VectorStore): void {
  const { storage, ingestion, compaction, query, collections, jobs } = store;
  const values: Record<string, string> = {
    [storeOutputs.bucket]: storage.bucket.bucketName,
    [storeOutputs.table]: storage.table.tableName,
    [storeOutputs.queueUrl]: ingestion.queue.queueUrl,
    [storeOutputs.deadLetterQueueUrl]: ingestion.deadLetterQueue.queueUrl,
    [storeOutputs.failedEventsQueueUrl]: compaction.failedEventsQueue.queueUrl,
    [functions.producer.output]: ingestion.function.functionName,
    [functions.compactor.output]: compaction.function.functionName,
    [functions.query.output]: calleeName(query.callee),
    [functions.collections.output]: collections.function.functionName,
    [functions.collections.logOutput]: collections.function.logGroup.logGroupName,
    [functions.producer.logOutput]: ingestion.function.logGroup.logGroupName,
    [functions.compactor.logOutput]: compaction.function.logGroup.logGroupName,
    [functions.query.logOutput]: query.function.logGroup.logGroupName,
    [functions.producer.urlOutput]: ingestion.url.url,
    [functions.query.urlOutput]: query.url.url,
    ...(jobs === undefined ? {} : outputsOfJobs(jobs)),
  };
  for (const [name, value] of Object.entries(values))
    new CfnOutput(store, name, { value }).overrideLogicalId(name);
}

const outputsOfJobs = ({
  environment,
  deadLetterQueue,
  function: embedder,
}: Jobs): Record<string, string> => ({
  [jobOutputs.queueUrls]: environment[env.jobQueueUrls]!,
  [jobOutputs.deadLetterQueueUrl]: deadLetterQueue.queueUrl,
  [functions.embedder.output]: embedder.functionName,
  [functions.embedder.logOutput]: embedder.logGroup.logGroupName,
});
