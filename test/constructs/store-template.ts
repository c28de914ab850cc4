/** Synthesises a VectorStore over handlers that are mere stand-ins: assertions need no bundles. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { VectorStore, type VectorStoreProps } from "../../lib/constructs/index.ts";
import { functionNames } from "../../lib/contract/functions.ts";

// The CDK's template checks are run once, by nag.test.ts.
process.env.CDK_VALIDATION = "false";

const folder = mkdtempSync(join(tmpdir(), "siltstone-constructs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
export const handlersFolder = join(folder, "handlers");
for (const name of functionNames) {
  mkdirSync(join(handlersFolder, name), { recursive: true });
  writeFileSync(join(handlersFolder, name, "handler.js"), `exports.handler = async () => "${name}";\n`);
}

export interface StoreStack {
  readonly app: App;
  readonly stack: Stack;
  readonly store: VectorStore;
}

export function storeStack(props: VectorStoreProps = {}): StoreStack {
  const app = new App({ outdir: mkdtempSync(join(folder, "out-")), analyticsReporting: false });
  const stack = new Stack(app, "Stack");
  return { app, stack, store: new VectorStore(stack, "Store", { handlersFolder, ...props }) };
}

export const storeTemplate = (props: VectorStoreProps = {}): Template =>
  Template.fromStack(storeStack(props).stack);

export interface Statement {
  readonly actions: string[];
  readonly resources: string[];
}

/** Every allowing statement of the role with this id's start, with references shortened to `Id.Attribute/…`. */
export function statementsOf(template: Template, roleId: string): Statement[] {
  const json = template.toJSON().Resources as Record<
    string,
    { Type: string; Properties: Record<string, unknown> }
  >;
  const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);
  return Object.values(json)
    .filter(
      ({ Type, Properties }) =>
        Type === "AWS::IAM::Policy" && JSON.stringify(Properties.Roles).includes(`"${roleId}`),
    )
    .flatMap(
      ({ Properties }) => (Properties.PolicyDocument as { Statement: Record<string, unknown>[] }).Statement,
    )
    .map((statement) => ({
      actions: list(statement.Action) as string[],
      resources: list(statement.Resource).map(shorten),
    }));
}

function shorten(value: unknown): string {
  if (typeof value === "string") return value;
  const reference = value as {
    "Fn::GetAtt"?: [string, string];
    "Fn::Join"?: [string, unknown[]];
    "Fn::ImportValue"?: unknown;
  };
  const attribute = reference["Fn::GetAtt"];
  if (attribute) return attribute[0].replace(/^Store(.*)[0-9A-F]{8}$/, "$1");
  // Of another stack.
  if (reference["Fn::ImportValue"] !== undefined) return shorten(reference["Fn::ImportValue"]);
  return reference["Fn::Join"]![1].map(shorten).join("");
}
