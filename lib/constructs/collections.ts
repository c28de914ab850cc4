/**
 * The collections function, which creates collections: for who is granted that, and for the stack itself.
 *
 * A declared collection is created when the stack is deployed. No deployment changes or deletes one: a configuration never changes,
 * so that one which differs from what is there fails the deployment, saying in what; and one that is declared no more stays.
 */
import { CustomResource, Duration } from "aws-cdk-lib";
import { Effect, type IGrantable, PolicyStatement } from "aws-cdk-lib/aws-iam";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import { Construct } from "constructs";
import { callerEnv } from "../contract/names.ts";
import { type CollectionOptions, newCollection } from "../core/model/collection.ts";
import { functionTimeoutMs } from "../core/policy/time-bounds.ts";
import { allowKey } from "./encryption.ts";
import {
  allowing,
  giveRight,
  HandlerFunction,
  type StoreFunctions,
  setVariables,
} from "./handler-function.ts";
import { checkProps } from "./props.ts";
import type { Storage } from "./storage.ts";

/** It reads and writes a few small objects. */
const memoryMiB = 512;

const collectionProps = {
  dims: true,
  metric: true,
  embeddingVersion: true,
  embedder: true,
  index: true,
  fields: true,
  shards: true,
  ordering: true,
  tombstoneRetention: true,
} as const satisfies Record<keyof Omit<CollectionOptions, "name">, true>;

export interface CollectionsProps {
  readonly storage: Storage;
  readonly environment: Readonly<Record<string, string>>;
  readonly functions: StoreFunctions;
}

export class Collections extends Construct {
  readonly function: LambdaFunction;
  /** The variable that names the function, for callers that are no function of this app. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly handler: HandlerFunction;

  constructor(scope: Construct, id: string, { storage, environment, functions }: CollectionsProps) {
    super(scope, id);
    const { bucket, bucketKey } = storage;
    this.handler = new HandlerFunction(this, "Collections", {
      functions,
      name: "collections",
      memoryMiB,
      timeoutSeconds: functionTimeoutMs.collections / 1000,
      environment,
    });
    this.function = this.handler.function;
    this.environment = { [callerEnv.collectionsFunction]: this.function.functionName };
    const objects = ["*/name.json", "*/collection.json", "*/*/pointer.json"].map((path) =>
      bucket.arnForObjects(path),
    );
    this.handler.allow(["s3:ListBucket"], [bucket.bucketArn]);
    this.handler.allow(["s3:GetObject"], objects);
    // It makes what is not there; a pointer that is there is the compactor's.
    this.function.addToRolePolicy(
      new PolicyStatement({
        effect: Effect.ALLOW,
        actions: ["s3:PutObject"],
        resources: objects,
        conditions: { StringEquals: { "s3:if-none-match": "*" } },
      }),
    );
    allowKey(this.function, bucketKey, "writeObjects");
  }

  /** Throws for a configuration that cannot be, naming every field that is wrong. */
  add(name: string, options: Omit<CollectionOptions, "name">): CustomResource {
    checkProps(`collection ${name}`, options, collectionProps);
    const configuration = { name, ...options };
    newCollection(configuration, "declared", 0);
    const resource = new CustomResource(this, name, {
      resourceType: "Custom::SiltstoneCollection",
      serviceToken: this.function.functionArn,
      serviceTimeout: Duration.millis(2 * functionTimeoutMs.collections),
      properties: { Configuration: JSON.stringify(configuration) },
    });
    // The rights are a resource of their own, and have to be there.
    resource.node.addDependency(this.handler);
    return resource;
  }

  /** Lets the grantee invoke the function, and tells a function the name. */
  grantCreate(grantee: IGrantable): void {
    giveRight(grantee, allowing(["lambda:InvokeFunction"], [this.function.functionArn]));
    setVariables(grantee, this.environment);
  }
}
