/**
 * A KMS key of the user's for bucket, queues, table and logs, and the rights on it that follow: what a service asks of the key in
 * the name of who called it, and only through that service (AWS's documentation of each says what it asks).
 */
import { Stack } from "aws-cdk-lib";
import { Effect, type IGrantable, PolicyStatement, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { IKey } from "aws-cdk-lib/aws-kms";
import { giveRight } from "./handler-function.ts";

const uses = {
  readObjects: { service: "s3", actions: ["kms:Decrypt"] },
  // Of a multipart upload S3 reads the parts again.
  writeObjects: { service: "s3", actions: ["kms:Decrypt", "kms:GenerateDataKey"] },
  sendMessages: { service: "sqs", actions: ["kms:Decrypt", "kms:GenerateDataKey"] },
  useTable: {
    service: "dynamodb",
    actions: [
      "kms:Decrypt",
      "kms:DescribeKey",
      "kms:Encrypt",
      "kms:GenerateDataKey",
      "kms:GenerateDataKeyWithoutPlaintext",
      "kms:ReEncryptFrom",
      "kms:ReEncryptTo",
    ],
  },
} as const;
type KeyUse = keyof typeof uses;

/** Lets the grantee have the key used for it; without a key of one's own there is nothing to allow. */
export function allowKey(grantee: IGrantable, key: IKey | undefined, use: KeyUse): void {
  if (key === undefined) return;
  const { service, actions } = uses[use];
  const viaService = `${service}.${Stack.of(key).region}.amazonaws.com`;
  giveRight(
    grantee,
    new PolicyStatement({
      effect: Effect.ALLOW,
      actions: [...actions],
      resources: [key.keyArn],
      conditions: { StringEquals: { "kms:ViaService": viaService } },
    }),
  );
}

/** CloudWatch Logs uses the key as itself, which only the key's own policy can allow: that of an imported key is its owner's. */
export function allowLogs(key: IKey): void {
  const { partition, region, account } = Stack.of(key);
  key.addToResourcePolicy(
    new PolicyStatement({
      principals: [new ServicePrincipal(`logs.${region}.amazonaws.com`)],
      actions: ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
      resources: ["*"],
      conditions: {
        ArnLike: { "kms:EncryptionContext:aws:logs:arn": `arn:${partition}:logs:${region}:${account}:*` },
      },
    }),
  );
}
