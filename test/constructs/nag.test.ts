/**
 * cdk-nag's AwsSolutions rules and the CDK's own template checks over all stages: no finding but those acknowledged
 * here, each with its reason.
 */
import { App, type CfnElement, Stack, Validations } from "aws-cdk-lib";
import { AwsSolutionsChecks } from "cdk-nag";
import type { IConstruct } from "constructs";
import { VectorStore } from "../../lib/constructs/index.ts";
import { handlersFolder } from "./store-template.ts";

beforeAll(() => {
  process.env.CDK_VALIDATION = "true";
});

test.each([
  ...["dev", "staging", "prod"].map((stage) => ({ stage, queryGroups: 1 })),
  { stage: "prod", queryGroups: 2 },
])("$stage with $queryGroups query groups has no finding", ({ stage, queryGroups }) => {
  const app = new App({ analyticsReporting: false });
  const stack = new Stack(app, "Stack");
  const store = new VectorStore(stack, "Store", { stage, handlersFolder, queryGroups });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));

  const { storage, ingestion, compaction, query } = store;
  const bucketId = stack.getLogicalId(storage.bucket.node.defaultChild as CfnElement);
  const acknowledge = (scope: IConstruct, id: string, reason: string) =>
    Validations.of(scope).acknowledge({ id: `AwsSolutions::AwsSolutions-${id}`, reason });
  const wildcard = (path: string) => `IAM5[Resource::<${bucketId}.Arn>${path}]`;
  acknowledge(
    storage.bucket,
    "S1",
    "Every commit is in the versioned pointer and in manifests that name their run; access logs would multiply the requests' cost. An account that wants them turns on CloudTrail data events.",
  );
  const producerReason =
    "Deltas and configurations of every collection: the collection is the first part of the key.";
  acknowledge(ingestion.function.role!, wildcard("/*/*/deltas/*"), producerReason);
  acknowledge(ingestion.function.role!, wildcard("/*/collection.json"), producerReason);
  acknowledge(
    compaction.function.role!,
    wildcard("/*"),
    "The compactor is the owner of everything in this bucket.",
  );
  const readers = queryGroups === 1 ? [query.function] : query.groupFunctions;
  for (const reader of readers) {
    acknowledge(
      reader.role!,
      wildcard("/*"),
      "A query reads any collection of this bucket, which holds nothing else.",
    );
  }
  if (queryGroups > 1)
    acknowledge(
      query.function.role!,
      wildcard("/*/collection.json"),
      "The shards of any collection: the collection is the first part of the key.",
    );

  expect(() => app.synth()).not.toThrow();
});
