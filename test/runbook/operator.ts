/**
 * Who walks the runbook on the local stack: `npx silt` in this process, `aws s3api` by the SDK's command of the same name and
 * parameters, and `npx cdk deploy` as what a deploy does here: every function is again what the template says.
 */
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { App } from "aws-cdk-lib";
import { contextOf } from "../../scripts/build/context.ts";
import { connect } from "../../scripts/cli/deployment.ts";
import { runCommandLine } from "../../scripts/cli/program.ts";
import type { LocalStack } from "../../scripts/local/stack.ts";
import type { Said } from "./runbook.ts";

type Spoken = Omit<Said, "command">;

export class Operator {
  readonly #stack: () => LocalStack;
  readonly #silt: (args: readonly string[]) => Promise<Spoken>;
  readonly #deployed = new Map<string, ReturnType<LocalStack["lambda"]["function"]>["definition"]>();

  /** What a deploy does where a test brings the versions to deploy. @default every function is again what the template says */
  deploys: (() => Promise<void>) | null = null;

  constructor(
    stack: () => LocalStack,
    ofPackage: (args: readonly string[]) => Promise<Spoken> = (args) => silt(args),
  ) {
    this.#stack = stack;
    this.#silt = ofPackage;
  }

  readonly execute = (words: readonly string[]): Promise<Spoken> => {
    const line = words.join(" ");
    if (line.startsWith("npx silt ")) return this.#silt(words.slice(2));
    if (line.startsWith("aws s3api ")) return s3api(words[2]!, words.slice(3));
    if (line.startsWith("npx cdk deploy ")) return this.#deploy(words.slice(3));
    throw new Error(`the runbook's tests cannot run: ${line}`);
  };

  /** From here on the function is another, as after a bad deploy; null: as it was. */
  async replace(
    name: string,
    change: Partial<ReturnType<LocalStack["lambda"]["function"]>["definition"]> | null,
  ): Promise<void> {
    const { lambda } = this.#stack();
    const pool = lambda.function(name);
    const deployed = this.#deployed.get(name) ?? pool.definition;
    this.#deployed.set(name, deployed);
    await pool.stop();
    lambda.addFunction({ ...deployed, ...change });
  }

  /** What was replaced is again as a deploy makes it. */
  async restore(): Promise<void> {
    for (const name of this.#deployed.keys()) await this.replace(name, null);
    this.#deployed.clear();
  }

  async #deploy(words: readonly string[]): Promise<Spoken> {
    if (this.deploys !== null) {
      await this.deploys();
      return { code: 0, out: "", err: "" };
    }
    const given = words.filter((word) => word !== "-c").map((word) => word.split("=") as [string, string]);
    const { parts } = contextOf(new App({ context: Object.fromEntries(given) }));
    for (const name of this.#stack().functions) {
      const part = Object.keys(parts).find((one) => name.toLowerCase().includes(one));
      const { memoryMiB, reservedConcurrency } = parts[part ?? ""] ?? {};
      await this.replace(name, {
        ...(memoryMiB === undefined ? {} : { memoryMegabytes: memoryMiB }),
        ...(reservedConcurrency === undefined ? {} : { reservedConcurrency }),
      });
    }
    return { code: 0, out: "", err: "" };
  }
}

export async function silt(args: readonly string[], input = ""): Promise<Spoken> {
  const said = { out: "", err: "" };
  const collect = (name: keyof typeof said) => ({
    write: (text: string) => {
      said[name] += text;
    },
  });
  const code = await runCommandLine(args, {
    connect,
    stdin: Readable.from([Buffer.from(input)]),
    stdout: collect("out"),
    stderr: collect("err"),
    interrupted: new AbortController().signal,
  });
  return { code, ...said };
}

const s3Operations = {
  "copy-object": CopyObjectCommand,
  "delete-object": DeleteObjectCommand,
  "list-object-versions": ListObjectVersionsCommand,
  "put-object": PutObjectCommand,
};

/** delete-object --version-id V: DeleteObjectCommand({ VersionId: "V" }); answers its output as JSON, as the AWS CLI does. */
async function s3api(operation: string, words: readonly string[]): Promise<Spoken> {
  const Operation = s3Operations[operation as "delete-object"];
  const input: Record<string, unknown> = {};
  for (let i = 0; i < words.length; i += 2) {
    const option = words[i]!.replaceAll(/-+([a-z])/g, (_, letter: string) => letter.toUpperCase());
    input[option] = option === "Body" ? readFileSync(words[i + 1]!) : words[i + 1];
  }
  const client = new S3Client({ forcePathStyle: true });
  try {
    const { $metadata: _, ...out } = await client.send(new Operation(input as never));
    return { code: 0, out: JSON.stringify(out), err: "" };
  } catch (error) {
    return { code: 254, out: "", err: String(error) };
  } finally {
    client.destroy();
  }
}
