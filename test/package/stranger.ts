/**
 * What a stranger has: an empty folder with a project as `cdk init` makes it, the packed package installed by npm, and a PATH on
 * which there is no compiler. Tools of the project that are no part of the package (TypeScript, jest, the CDK, esbuild) are those
 * that are installed here.
 */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import type { Synthesis } from "../../scripts/build/synthesize.ts";
import type { LocalStack } from "../../scripts/local/stack.ts";

const root = join(import.meta.dirname, "../..");
const run = promisify(execFile);

export class Stranger {
  readonly folder = mkdtempSync(join(tmpdir(), "siltstone-package-"));
  readonly project = join(this.folder, "app");
  readonly #path = join(this.folder, "bin");
  /** Paths in the packed package. */
  files: readonly string[] = [];

  async prepare(): Promise<void> {
    mkdirSync(this.project);
    mkdirSync(this.#path);
    symlinkSync(process.execPath, join(this.#path, "node"));
    for (const program of ["npm", "npx", "sh", "bash"])
      symlinkSync(which(program), join(this.#path, program));
    await Promise.all([this.#pack(), this.#init()]);
    await this.run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "../siltstone.tgz"]);
    // After npm, which removes what it does not know.
    for (const name of ["aws-cdk-lib", "constructs", "esbuild", "typescript", "jest", "@types"])
      symlinkSync(join(root, "node_modules", name), join(this.project, "node_modules", name));
    symlinkSync("../esbuild/bin/esbuild", this.bin("esbuild"));
  }

  async #pack(): Promise<void> {
    const args = ["pack", "--ignore-scripts=false", "--json", "--pack-destination", this.folder];
    const { stdout } = await run("npm", args, { cwd: root, maxBuffer: 2 ** 24 });
    const [{ filename, files }] = JSON.parse(stdout.slice(stdout.indexOf("["))) as [
      { filename: string; files: { path: string }[] },
    ];
    this.files = files.map(({ path }) => path);
    symlinkSync(filename, join(this.folder, "siltstone.tgz"));
  }

  async #init(): Promise<void> {
    const cdk = join(root, "node_modules/aws-cdk/bin/cdk");
    await this.run("node", [cdk, "init", "app", "--language", "typescript", "--generate-only"]);
    // Its dependencies are not installed: they are those of this project.
    const manifest = JSON.parse(this.read("package.json")) as object;
    this.write("package.json", JSON.stringify({ ...manifest, dependencies: {}, devDependencies: {} }));
  }

  /** Ends with what it wrote to stdout; throws what it said when it failed. */
  async run(
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const { code, out, err } = await this.tell(command, args, env);
    if (code === 0) return out;
    throw new Error(`${command} ${args.join(" ")}: ${out}\n${err}`.slice(0, 4_000));
  }

  /** What it ended with, and wrote. */
  async tell(
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
    const { HOME = "", npm_config_cache } = process.env;
    const own = { PATH: this.#path, HOME, ...(npm_config_cache ? { npm_config_cache } : {}), ...env };
    const options = { cwd: this.project, env: own, maxBuffer: 2 ** 26 };
    return run(join(this.#path, command), args, options).then(
      ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
      ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({
        ...{ code, out: stdout, err: stderr },
      }),
    );
  }

  /** What `cdk synth` would make of the project. */
  async synthesize(stackName: string): Promise<Synthesis> {
    const out = join(this.folder, "cdk.out");
    // Its app is started by tsx there; here by Node, from what esbuild makes of it.
    const esbuild = ["node_modules/esbuild/bin/esbuild", "bin/app.ts", "--bundle", "--packages=external"];
    await this.run("node", [...esbuild, "--platform=node", "--outfile=app.js", "--log-level=error"]);
    await this.run("node", ["app.js"], {
      CDK_OUTDIR: out,
      CDK_CONTEXT_JSON: JSON.stringify({ "aws:cdk:enable-asset-metadata": true }),
      CDK_VALIDATION: "false",
    });
    const text = readFileSync(join(out, `${stackName}.template.json`), "utf8");
    const template = JSON.parse(text) as Synthesis["template"];
    const codeFolders = Object.fromEntries(
      Object.entries(template.Resources).flatMap(([id, { Metadata }]) => {
        const folder = Metadata?.["aws:asset:path"];
        return folder === undefined ? [] : [[id, join(out, folder)]];
      }),
    );
    return { stackName, template, codeFolders };
  }

  /** What npm linked into the project. */
  bin = (name: string): string => join(this.project, "node_modules/.bin", name);
  read = (path: string): string => readFileSync(join(this.project, path), "utf8");
  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.project, path)), { recursive: true });
    writeFileSync(join(this.project, path), text);
  }
  remove = (): void => rmSync(this.folder, { recursive: true, force: true });
}

const which = (program: string): string =>
  execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();

/** A stack of the app's own with a store, and a function that writes with the bundled library. `props` and `uses` are source text. */
export const stackSource = (props: string, uses: string): string => `
import { Stack, type StackProps } from 'aws-cdk-lib/core';
import { Architecture, Runtime } from 'aws-cdk-lib/aws-lambda';
import { NodejsFunction } from 'aws-cdk-lib/aws-lambda-nodejs';
import type { Construct } from 'constructs';
import { VectorStore } from 'siltstone/constructs';

export class AppStack extends Stack {
  constructor(scope: Construct, id: string, props?: StackProps) {
    super(scope, id, props);
    const architecture = process.arch === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64;
    const store = new VectorStore(this, 'Vectors', { stage: 'pr-7', architecture, ${props} });
    const upstream = new NodejsFunction(this, 'Upstream', {
      entry: 'lambda/upstream.ts',
      runtime: Runtime.NODEJS_24_X,
      // The local stack has no AWS SDK of Lambda's own.
      bundling: { bundleAwsSDK: true },
    });
    ${uses}
  }
}
`;
export const upstreamSource = `
import { createProducer, type ProduceCall, SiltstoneError } from 'siltstone/produce';

const producer = createProducer();
export const handler = async (call: ProduceCall): Promise<object> =>
  producer.produce(call).catch((error: unknown) => {
    if (error instanceof SiltstoneError) return { kind: error.kind };
    throw error;
  });
`;

/** By the app's own function. */
export async function writeUpstream(stack: LocalStack, call: object): Promise<object> {
  const lambda = new LambdaClient({
    region: stack.region,
    endpoint: stack.endpoints.lambda,
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
  });
  const FunctionName = stack.functions.find((one) => one.includes("Upstream"))!;
  const answer = await lambda.send(new InvokeCommand({ FunctionName, Payload: JSON.stringify(call) }));
  lambda.destroy();
  const said = JSON.parse(answer.Payload!.transformToString());
  if (answer.FunctionError !== undefined) throw new Error(JSON.stringify(said));
  return said;
}
