/**
 * How the stage reaches its providers of embeddings: one variable of the functions that embed texts, and the rights that follow.
 * Endpoints, secrets and rates are here, and never in a collection (docs/embedding.md).
 */
import { Stack } from "aws-cdk-lib";
import { Effect, PolicyStatement } from "aws-cdk-lib/aws-iam";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { ISecret } from "aws-cdk-lib/aws-secretsmanager";
import { env, limitPrefix } from "../contract/names.ts";
import type { ProviderName } from "../core/model/embedding-profile.ts";
import { parseProviders } from "../embedding/provider-access.ts";
import { allowKey } from "./encryption.ts";
import { allowing, giveRight } from "./handler-function.ts";
import type { Storage } from "./storage.ts";

export interface ProviderOptions {
  /** Base of the API, as https://api.openai.com/v1; none for Bedrock, which is the region's. */
  readonly endpoint?: string;
  /** Holds the key, as text, or as JSON with `key` or `apiKey`. @default none is sent */
  readonly secret?: Pick<ISecret, "secretArn" | "grantRead">;
  /** What collections may name, as the provider names them. */
  readonly models: readonly string[];
  /** Of all functions together. @default 600 */
  readonly requestsPerMinute?: number;
  /** Of all functions together. @default 1,000,000 */
  readonly tokensPerMinute?: number;
  /** @default as many as the provider takes */
  readonly inputsPerRequest?: number;
  /** On their way at a time, in one process. @default 4 */
  readonly requestsAtOnce?: number;
  /** Values that SILTSTONE_PROVIDER_OVERRIDES may put in a key's place, by key. @default none, but in stages that come and go */
  readonly approved?: Readonly<Record<string, readonly unknown[]>>;
}

export interface EmbeddingOptions {
  /** @default none: the built-in embedder alone */
  readonly providers?: Readonly<Partial<Record<ProviderName, ProviderOptions>>>;
  /** Of the embedder, which embeds items. @default 1024 */
  readonly memoryMiB?: number;
  /** Runs of the embedder at a time for each of the three queues, 2 to 1,000. @default 8 */
  readonly workersMax?: number;
}
export const embeddingProps = {
  providers: true,
  memoryMiB: true,
  workersMax: true,
} as const satisfies Record<keyof EmbeddingOptions, true>;
/** Stands in for an ARN that is known when the stack is deployed. */
const someSecret = `arn:aws:secretsmanager:eu-central-1:123456789012:secret:${"k".repeat(128)}`;
/** What Lambda has for all variables of a function, and what others take of it (lib/contract/names.ts `env`). */
const variablesBytesMax = 4_096;
const otherVariablesBytes = 700;
const groupNameBytes = 70;

/** Throws for what the function would refuse at start, naming key, range and value. */
export function allowEmbedding(
  grantee: LambdaFunction,
  { providers = {} }: EmbeddingOptions,
  { storage, stage, groups }: { readonly storage: Storage; readonly stage: string; readonly groups: number },
): void {
  const written = (arnOf: (secret: NonNullable<ProviderOptions["secret"]>) => string): string =>
    JSON.stringify(
      Object.fromEntries(
        Object.entries(providers).map(([name, { secret, ...access }]) => [
          name,
          { ...access, ...(secret === undefined ? {} : { secretArn: arnOf(secret) }) },
        ]),
      ),
    );
  const variable = written(() => someSecret);
  parseProviders({ [env.providers]: variable }, stage);
  const bytesMax = variablesBytesMax - otherVariablesBytes - groups * groupNameBytes;
  if (Buffer.byteLength(variable) > bytesMax)
    throw new Error(
      `embedding.providers: takes ${Buffer.byteLength(variable)} bytes of the function's variables, which have space for ${bytesMax}` +
        (groups === 0 ? "" : ` beside the names of ${groups} query groups`),
    );
  grantee.addEnvironment(
    env.providers,
    written(({ secretArn }) => secretArn),
  );
  for (const { secret } of Object.values(providers)) secret?.grantRead(grantee);
  const { bedrock } = providers;
  if (bedrock !== undefined)
    giveRight(
      grantee,
      allowing(
        ["bedrock:InvokeModel"],
        bedrock.models.flatMap((model) => modelArns(grantee, model)),
      ),
    );
  // The counters of requests and tokens, and no lease.
  giveRight(
    grantee,
    new PolicyStatement({
      effect: Effect.ALLOW,
      actions: ["dynamodb:UpdateItem"],
      resources: [storage.table.tableArn],
      conditions: { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": [`${limitPrefix}*`] } },
    }),
  );
  allowKey(grantee, storage.encryptionKey, "useTable");
}

/** An inference profile (`eu.cohere…`) invokes its model in several regions. */
function modelArns(grantee: LambdaFunction, model: string): string[] {
  const { partition, region, account } = Stack.of(grantee);
  const [, profiled] = /^(?:us|eu|apac|jp|au|ca|global)\.(.+)$/.exec(model) ?? [];
  if (profiled === undefined) return [`arn:${partition}:bedrock:${region}::foundation-model/${model}`];
  return [
    `arn:${partition}:bedrock:${region}:${account}:inference-profile/${model}`,
    `arn:${partition}:bedrock:*::foundation-model/${profiled}`,
  ];
}
