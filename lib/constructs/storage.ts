/**
 * Where everything lies: the bucket with every collection, and the table with leases and run records.
 *
 * No lifecycle rule ever expires a current object. Collections are the first part of a key, so that no prefix could
 * tell a delta of the backlog from garbage; the compactor alone knows, and deletes.
 *
 * Nothing is written over what is there: the bucket's policy demands it of every principal, the account's owner included. Without it
 * who may put a delta could also put another in the place of one that was acknowledged.
 */
import { Duration, Stack, Validations } from "aws-cdk-lib";
import { AttributeType, BillingMode, Table, TableEncryption } from "aws-cdk-lib/aws-dynamodb";
import { AnyPrincipal, Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
import type { IKey } from "aws-cdk-lib/aws-kms";
import {
  BlockPublicAccess,
  Bucket,
  BucketEncryption,
  BucketPolicy,
  type IBucket,
  ObjectOwnership,
  StorageClass,
} from "aws-cdk-lib/aws-s3";
import { Construct } from "constructs";
import { table } from "../contract/names.ts";
import { checkSetting } from "../contract/settings.ts";
import { removalPolicyOf } from "./handler-function.ts";
import { checkProps } from "./props.ts";

/** Smaller objects stay in S3 Standard: Intelligent-Tiering never moves them on. */
const tieredBytesMin = 128 * 1024;

export interface StorageOptions {
  /**
   * A bucket that is there already: what another stack retained, or a replica from another region. It must be versioned, and have no
   * bucket policy: it gets the store's. Its lifecycle rules are its owner's, and may expire no current object.
   * @default a bucket of the store's own
   */
  readonly bucket?: IBucket;
  /**
   * KMS key for bucket, queues, table and logs. The policy of a key that is imported must let CloudWatch Logs use it.
   * @default keys of AWS's own (SSE-S3, SSE-SQS)
   */
  readonly encryptionKey?: IKey;
  /**
   * Days that replaced and deleted objects can still be recovered, at least 14; not for a bucket that is there already.
   * @default 14
   */
  readonly noncurrentVersionDays?: number;
}
const storageProps = {
  bucket: true,
  encryptionKey: true,
  noncurrentVersionDays: true,
} as const satisfies Record<keyof StorageOptions, true>;

export class Storage extends Construct {
  readonly bucket: IBucket;
  readonly table: Table;
  /** Of the bucket; undefined where S3's own keys are used. */
  readonly bucketKey: IKey | undefined;
  /** Of queues, table and logs; undefined where AWS's own keys are used. */
  readonly encryptionKey: IKey | undefined;

  constructor(
    scope: Construct,
    id: string,
    { stage, ...options }: StorageOptions & { readonly stage: string },
  ) {
    super(scope, id);
    checkProps("storage", options, storageProps);
    const { bucket, encryptionKey } = options;
    if (bucket !== undefined && options.noncurrentVersionDays !== undefined)
      throw new Error("storage.noncurrentVersionDays: the lifecycle rules of storage.bucket are its owner's");
    this.encryptionKey = encryptionKey;
    this.bucket = bucket ?? (this.makeBucket(stage, options) as IBucket);
    this.bucketKey = bucket?.encryptionKey ?? encryptionKey;
    const policy = new BucketPolicy(this, "BucketPolicy", { bucket: this.bucket });
    policy.document.addStatements(...this.demandedConditions());
    this.table = new Table(this, "Table", {
      partitionKey: { name: table.partitionKey, type: AttributeType.STRING },
      sortKey: { name: table.sortKey, type: AttributeType.STRING },
      timeToLiveAttribute: table.ttl,
      billingMode: BillingMode.PAY_PER_REQUEST,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      removalPolicy: removalPolicyOf(stage),
      ...(encryptionKey === undefined ? {} : { encryption: TableEncryption.CUSTOMER_MANAGED, encryptionKey }),
    });
  }

  private makeBucket(stage: string, options: StorageOptions): Bucket {
    const { encryptionKey } = options;
    const days = checkSetting("storage.noncurrentVersionDays", options.noncurrentVersionDays);
    const bucket = new Bucket(this, "Bucket", {
      versioned: true,
      ...(encryptionKey === undefined
        ? { encryption: BucketEncryption.S3_MANAGED }
        : { encryption: BucketEncryption.KMS, encryptionKey, bucketKeyEnabled: true }),
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
          noncurrentVersionExpiration: Duration.days(days),
          expiredObjectDeleteMarker: true,
          abortIncompleteMultipartUploadAfter: Duration.days(1),
        },
      ],
      removalPolicy: removalPolicyOf(stage),
    });
    Validations.of(bucket).acknowledge({
      id: "CloudFormation-Validate::W9003",
      reason: "the CDK writes ObjectSizeGreaterThan as a number; CloudFormation reads it",
    });
    return bucket;
  }

  /** What the bucket's policy refuses, whatever a role allows. */
  private demandedConditions(): PolicyStatement[] {
    const replaced = ["*/pointer.json", "*/alias.json"].map((path) => this.bucket.arnForObjects(path));
    // The copies in it (.arrow) are under no condition: a run that repeats one that died makes them again, and they are the same.
    const quarantine = this.bucket.arnForObjects("*/quarantine/*");
    const reasons = this.bucket.arnForObjects("*/quarantine/*.json");
    const everything = { resources: [this.bucket.bucketArn, this.bucket.arnForObjects("*")] };
    const refusing = (
      sid: string,
      actions: string[],
      where: { resources: string[] } | { notResources: string[] },
      conditions: Record<string, Record<string, string>>,
    ) =>
      new PolicyStatement({
        ...{ sid, effect: Effect.DENY, principals: [new AnyPrincipal()], actions },
        ...{ ...where, conditions },
      });
    const absent = (...keys: string[]) => ({
      Null: Object.fromEntries(keys.map((key) => [key, "true"])),
      // False of a multipart upload's beginning and parts, which make no object and take no condition.
      BoolIfExists: { "s3:ObjectCreationOperation": "true" },
    });
    const put = ["s3:PutObject"];
    return [
      refusing("OverTls", ["s3:*"], everything, { Bool: { "aws:SecureTransport": "false" } }),
      refusing("OverNewTls", ["s3:*"], everything, { NumericLessThan: { "s3:TlsVersion": "1.2" } }),
      refusing("OfThisAccount", ["s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"], everything, {
        StringNotEquals: { "aws:PrincipalAccount": Stack.of(this).account },
      }),
      refusing("WrittenOnce", put, { notResources: [...replaced, quarantine] }, absent("s3:if-none-match")),
      refusing(
        "ReplacedAsKnown",
        put,
        { resources: [...replaced, reasons] },
        absent("s3:if-match", "s3:if-none-match"),
      ),
    ];
  }
}
