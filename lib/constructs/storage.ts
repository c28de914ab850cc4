/**
 * Where everything lies: the bucket with every collection, and the table with leases and run records.
 *
 * No lifecycle rule ever expires a current object. Collections are the first part of a key, so that no prefix could
 * tell a delta of the backlog from garbage; the compactor alone knows, and deletes.
 *
 * Nothing is written over what is there: the bucket's policy demands it of every principal, the account's owner included. Without it
 * who may put a delta could also put another in the place of one that was acknowledged.
 */
import { Duration, Validations } from "aws-cdk-lib";
import { AttributeType, BillingMode, Table } from "aws-cdk-lib/aws-dynamodb";
import { AnyPrincipal, Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
import {
  BlockPublicAccess,
  Bucket,
  BucketEncryption,
  ObjectOwnership,
  StorageClass,
} from "aws-cdk-lib/aws-s3";
import { Construct } from "constructs";
import { table } from "../contract/names.ts";
import { checkSetting } from "../contract/settings.ts";
import { removalPolicyOf } from "./handler-function.ts";

/** Smaller objects stay in S3 Standard: Intelligent-Tiering never moves them on. */
const tieredBytesMin = 128 * 1024;

export interface StorageProps {
  readonly stage: string;
  readonly noncurrentVersionDays?: number | undefined;
}

export class Storage extends Construct {
  readonly bucket: Bucket;
  readonly table: Table;

  constructor(scope: Construct, id: string, props: StorageProps) {
    super(scope, id);
    const noncurrentVersionDays = checkSetting("noncurrentVersionDays", props.noncurrentVersionDays);
    const removalPolicy = removalPolicyOf(props.stage);
    this.bucket = new Bucket(this, "Bucket", {
      versioned: true,
      encryption: BucketEncryption.S3_MANAGED,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      lifecycleRules: [
        {
          id: "tier-segments",
          // What lives for a day and is large is a segment; a delta is ingested within minutes.
          objectSizeGreaterThan: tieredBytesMin,
          transitions: [
            { storageClass: StorageClass.INTELLIGENT_TIERING, transitionAfter: Duration.days(1) },
          ],
        },
        {
          id: "remove-superseded",
          noncurrentVersionExpiration: Duration.days(noncurrentVersionDays),
          expiredObjectDeleteMarker: true,
          abortIncompleteMultipartUploadAfter: Duration.days(1),
        },
      ],
      removalPolicy,
    });
    for (const statement of this.demandedConditions()) this.bucket.addToResourcePolicy(statement);
    Validations.of(this.bucket).acknowledge({
      id: "CloudFormation-Validate::W9003",
      reason: "the CDK writes ObjectSizeGreaterThan as a number; CloudFormation reads it",
    });
    this.table = new Table(this, "Table", {
      partitionKey: { name: table.partitionKey, type: AttributeType.STRING },
      sortKey: { name: table.sortKey, type: AttributeType.STRING },
      timeToLiveAttribute: table.ttl,
      billingMode: BillingMode.PAY_PER_REQUEST,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      removalPolicy,
    });
  }

  /** The conditions without which nothing may be put, whatever a role allows. */
  private demandedConditions(): PolicyStatement[] {
    const pointers = this.bucket.arnForObjects("*/pointer.json");
    // The copies in it (.arrow) are under no condition: a run that repeats one that died makes them again, and they are the same.
    const quarantine = this.bucket.arnForObjects("*/quarantine/*");
    const reasons = this.bucket.arnForObjects("*/quarantine/*.json");
    const refusing = (
      sid: string,
      where: { resources: string[] } | { notResources: string[] },
      absent: readonly string[],
    ) =>
      new PolicyStatement({
        sid,
        effect: Effect.DENY,
        principals: [new AnyPrincipal()],
        actions: ["s3:PutObject"],
        ...where,
        conditions: {
          Null: Object.fromEntries(absent.map((key) => [key, "true"])),
          // False of a multipart upload's beginning and parts, which make no object and take no condition.
          BoolIfExists: { "s3:ObjectCreationOperation": "true" },
        },
      });
    return [
      refusing("WrittenOnce", { notResources: [pointers, quarantine] }, ["s3:if-none-match"]),
      refusing("ReplacedAsKnown", { resources: [pointers, reasons] }, ["s3:if-match", "s3:if-none-match"]),
    ];
  }
}
