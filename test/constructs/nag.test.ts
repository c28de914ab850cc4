/**
 * cdk-nag's rules and the CDK's own template checks: no finding but those that the constructs acknowledge, and, of the rules for
 * regulated workloads, those that are acknowledged here, each with its reason (docs/security.md has them).
 */
import { App, type IPolicyValidationPlugin, Stack, Validations } from "aws-cdk-lib";
import { SubnetType, Vpc } from "aws-cdk-lib/aws-ec2";
import { Key } from "aws-cdk-lib/aws-kms";
import { Topic } from "aws-cdk-lib/aws-sns";
import { AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks } from "cdk-nag";
import { VectorStore, type VectorStoreProps } from "../../lib/constructs/index.ts";
import { handlersFolder } from "./store-template.ts";

beforeAll(() => {
  process.env.CDK_VALIDATION = "true";
});

/** The findings, by the id that would acknowledge each. */
function findingsOf(
  checks: new (app: App) => IPolicyValidationPlugin,
  props: (stack: Stack) => VectorStoreProps,
  acknowledged: Readonly<Record<string, string>> = {},
): string[] {
  const app = new App({ analyticsReporting: false });
  const stack = new Stack(app, "Stack");
  const store = new VectorStore(stack, "Store", { handlersFolder, ...props(stack) });
  Validations.of(stack).addPlugins(new checks(app));
  for (const [id, reason] of Object.entries(acknowledged)) Validations.of(store).acknowledge({ id, reason });
  try {
    app.synth();
    return [];
  } catch (error) {
    const { message } = error as Error;
    const found = [...message.matchAll(/Acknowledge with '([^']+)'/g)].map(([, id]) => id!);
    return found.length === 0 ? [message] : [...new Set(found)];
  }
}

test.each([
  { stage: "dev" },
  { stage: "staging" },
  { stage: "prod" },
  { stage: "prod", query: { groups: 2, provisionedConcurrency: 1 }, functions: { tracing: true } },
])("AwsSolutions: %j has no finding", (props) => {
  expect(findingsOf(AwsSolutionsChecks, () => props)).toEqual([]);
});

/** Of a store with all that the rules ask of a store: a key, a VPC, bounded concurrency. */
const acknowledged: Readonly<Record<string, string>> = {
  IAMNoInlinePolicy:
    "Each policy is of one role alone, and goes with it: not shared, it is inline on purpose.",
  LambdaDLQ:
    "Producer and query are called synchronously; a run of the compactor that failed is done by the next one, and what it cannot read is in a dead-letter queue.",
  LambdaConcurrency:
    "Only the collections function has no bound of its own: deployments and people call it, now and then.",
  S3BucketLoggingEnabled:
    "CloudTrail data events say the same, where they are wanted; every commit names its run.",
  S3BucketReplicationEnabled:
    "Whether data may leave its region is the account's to decide; a replica can be adopted.",
  DynamoDBInBackupPlan:
    "The table holds leases and notes about runs, which can be lost, and has point-in-time recovery.",
};

const theirs = {
  vpcId: "vpc-0123456789abcdef0",
  vpcCidrBlock: "10.0.0.0/16",
  availabilityZones: ["a", "b"],
  isolatedSubnetIds: ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
  isolatedSubnetRouteTableIds: ["rtb-0123456789abcdef0", "rtb-0123456789abcdef1"],
};

test.each([
  ["NIST.800.53.R5", NIST80053R5Checks, acknowledged],
  ["HIPAA.Security", HIPAASecurityChecks, acknowledged],
  [
    "PCI.DSS.321",
    PCIDSS321Checks,
    Object.fromEntries(
      Object.entries(acknowledged).filter(
        ([rule]) => !["LambdaDLQ", "LambdaConcurrency", "DynamoDBInBackupPlan"].includes(rule),
      ),
    ),
  ],
] as const)(
  "%s: a store with a key, a VPC and bounded concurrency has those findings that are acknowledged",
  (pack, checks, expected) => {
    const regulated = (stack: Stack): VectorStoreProps => ({
      stage: "prod",
      storage: { encryptionKey: new Key(stack, "Key", { enableKeyRotation: true }) },
      monitoring: {
        topic: new Topic(stack, "Alarms", {
          masterKey: new Key(stack, "TopicKey", { enableKeyRotation: true }),
        }),
      },
      network: {
        vpc: Vpc.fromVpcAttributes(stack, "Vpc", theirs),
        subnets: { subnetType: SubnetType.PRIVATE_ISOLATED },
      },
      producer: { reservedConcurrency: 100 },
      compaction: { reservedConcurrency: 2 },
      query: { reservedConcurrency: 100 },
    });
    const ids = Object.entries(expected).map(([rule, reason]): [string, string] => [
      `${pack}::${pack}-${rule}`,
      reason,
    ]);
    expect(findingsOf(checks, regulated).sort()).toEqual(ids.map(([id]) => id).sort());
    expect(findingsOf(checks, regulated, Object.fromEntries(ids))).toEqual([]);
  },
);
