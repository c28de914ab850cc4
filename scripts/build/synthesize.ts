/**
 * The stack of a stage, as it is deployed: by the CDK command line (bin/app.ts), or synthesised here without it, for the
 * local AWS stack.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { Architecture } from "aws-cdk-lib/aws-lambda";
import { Bucket } from "aws-cdk-lib/aws-s3";
import { Secret } from "aws-cdk-lib/aws-secretsmanager";
import type { EmbeddingOptions } from "../../lib/constructs/embedding.ts";
import type { StorageOptions } from "../../lib/constructs/storage.ts";
import { VectorStore } from "../../lib/constructs/vector-store.ts";
import { stackName, stageKindOf } from "../../lib/contract/names.ts";
import type { Architecture as BundleArchitecture } from "./bundle.ts";
import { type AppContext, contextOf } from "./context.ts";
import { freshBundles } from "./fresh-bundles.ts";

const root = join(import.meta.dirname, "../..");

export interface CloudFormationTemplate {
  readonly Resources: Readonly<Record<string, CloudFormationResource>>;
  readonly Outputs: Readonly<Record<string, { readonly Value: unknown }>>;
}
export interface CloudFormationResource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  readonly Metadata?: { readonly "aws:asset:path"?: string };
}

export interface Synthesis {
  readonly stackName: string;
  readonly template: CloudFormationTemplate;
  /** Absolute path of each function's code, by the function's logical id. */
  readonly codeFolders: Readonly<Record<string, string>>;
}

/**
 * The same stack without the CDK command line, with handlers bundled for this machine: what the local AWS stack
 * provisions. `outDir` gets the cloud assembly; `given` is the context that `cdk -c` would give; `add` puts more into the stack,
 * and `storageOf` makes what the store is given, as a user's own app does.
 */
export async function synthesize(
  stage: string,
  outDir: string,
  given: Readonly<Record<string, string>> = {},
  add: (store: VectorStore) => void = () => {},
  storageOf: (stack: Stack) => StorageOptions = () => ({}),
): Promise<Synthesis> {
  // The CDK's own template checks take longer than all the rest; `cdk synth` runs them.
  process.env.CDK_VALIDATION ??= "false";
  const app = new App({
    outdir: outDir,
    // Names each function's code folder in the template.
    context: { ...featureFlags(), ...given, stage, "aws:cdk:enable-asset-metadata": true },
    analyticsReporting: false,
    treeMetadata: false,
  });
  add(await addStack(app, "host", storageOf));
  const template = app.synth().getStackByName(stackName(stage)).template as CloudFormationTemplate;
  const codeFolders: Record<string, string> = {};
  for (const [logicalId, { Metadata }] of Object.entries(template.Resources)) {
    const folder = Metadata?.["aws:asset:path"];
    if (folder !== undefined) codeFolders[logicalId] = join(outDir, folder);
  }
  return { stackName: stackName(stage), template, codeFolders };
}

/** The feature flags that `cdk synth` reads. */
function featureFlags(): Readonly<Record<string, unknown>> {
  const { context } = JSON.parse(readFileSync(join(root, "cdk.json"), "utf8")) as { context: object };
  return { ...context };
}

/** A secret is named by its ARN, which is whole. */
const withSecrets = (stack: Stack, providers: NonNullable<AppContext["providers"]>) =>
  Object.fromEntries(
    Object.entries(providers).map(([name, { secretArn, ...provider }]) => [
      name,
      {
        ...provider,
        ...(secretArn === undefined
          ? {}
          : { secret: Secret.fromSecretCompleteArn(stack, `Key-${name}`, String(secretArn)) }),
      },
    ]),
  ) as unknown as NonNullable<EmbeddingOptions["providers"]>;

/** Adds the stack that the app's context describes, with its handlers bundled for the architecture. */
export async function addStack(
  app: App,
  architecture: BundleArchitecture,
  storageOf: (stack: Stack) => StorageOptions = () => ({}),
): Promise<VectorStore> {
  const { stage, bucket, providers, parts } = contextOf(app);
  const handlersFolder = await freshBundles(architecture);
  const stack = new Stack(app, stackName(stage), {
    description: `Siltstone vector store, stage ${stage}`,
    terminationProtection: stageKindOf(stage) === "prod",
  });
  const isArm = architecture === "arm64" || (architecture === "host" && process.arch === "arm64");
  return new VectorStore(stack, "VectorStore", {
    stage,
    architecture: isArm ? Architecture.ARM_64 : Architecture.X86_64,
    handlersFolder,
    ...parts,
    ...(providers === null
      ? {}
      : { embedding: { ...parts.embedding, providers: withSecrets(stack, providers) } }),
    storage: {
      ...parts.storage,
      ...(bucket === null ? {} : { bucket: Bucket.fromBucketName(stack, "KeptBucket", bucket) }),
      ...storageOf(stack),
    },
  });
}
