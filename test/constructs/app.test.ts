/** The CDK app as the CDK command line and the local AWS stack run it, over the real handlers. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { outputNames } from "../../lib/contract/functions.ts";
import { stackName } from "../../lib/contract/names.ts";
import { ownKeys } from "../../scripts/build/context.ts";
import { synthesize } from "../../scripts/build/synthesize.ts";

const root = join(__dirname, "../..");
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-app-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What the CDK command line does: run cdk.json's app with the context and the output folder in the environment. */
function runApp(context: Record<string, string>, node = process.execPath) {
  const { app } = JSON.parse(readFileSync(join(root, "cdk.json"), "utf8")) as { app: string };
  const [command, ...args] = app.split(" ");
  expect(command).toBe("node");
  return spawnSync(node, args, {
    cwd: root,
    encoding: "utf8",
    env: {
      ...process.env,
      CDK_OUTDIR: folder,
      CDK_CONTEXT_JSON: JSON.stringify({ "aws:cdk:enable-asset-metadata": true, ...context }),
      CDK_VALIDATION: "false",
    },
  });
}
const readTemplate = (stage: string) =>
  readFileSync(join(folder, `Siltstone-${stage}.template.json`), "utf8");

test.each(["prod", "pr-123"])("-c stage=%s makes that stage's stack and no other", (stage) => {
  const { status, stderr } = runApp({ stage });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect(readTemplate(stage)).toContain(`"SILTSTONE_STAGE": "${stage}"`);
  const { artifacts } = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
  const stacks = Object.keys(artifacts).filter((id) => artifacts[id].type === "aws:cloudformation:stack");
  expect(stacks).toEqual([stackName(stage)]);
  expect(artifacts[stackName(stage)].environment).toBe("aws://unknown-account/unknown-region");
});

test("the default is dev on x64; arm64 is asked for", () => {
  expect(runApp({}).status).toBe(0);
  expect(readTemplate("dev")).toContain('"x86_64"');
  expect(runApp({ architecture: "arm64" }).status).toBe(0);
  expect(readTemplate("dev")).toContain('"arm64"');
});

test.each([
  ...["Production", "local", ""].map((stage): [Record<string, string>, string] => [
    { stage },
    `-c stage=… is 1 to 32 of a-z 0-9 -, beginning with a letter, ending with a letter or digit, and not local, got "${stage}"`,
  ]),
  [{ env: "prod" }, `-c env: no such key; known are ${ownKeys.join(", ")}`],
  [{ "query.group": "2" }, `-c query.group: no such key; known are ${ownKeys.join(", ")}`],
  [{ "query.groups": "two" }, '-c query.groups=… is a number, got "two"'],
  [{ "query.groups": "99" }, "query.groups: must be an integer from 1 to 48, got 99"],
  [{ "storage.bucket": "" }, '-c storage.bucket=… is a bucket\'s name, got ""'],
  [{ architecture: "mips" }, '-c architecture=… is one of x64, arm64, got "mips"'],
])("%p is a clear error", (context, message) => {
  const { status, stderr } = runApp(context);
  expect(status).toBe(1);
  expect(stderr.trim()).toBe(`siltstone: ${message}`);
});

test("-c query.groups=2 makes two query groups, and every function has its code", async () => {
  const { template, codeFolders } = await synthesize("dev", folder, { "query.groups": "2" });
  expect(Object.keys(template.Outputs).sort()).toEqual([...outputNames].sort());
  const groups = Object.keys(codeFolders).filter((id) => id.includes("QueryGroup"));
  expect(groups).toHaveLength(2);
  expect(Object.keys(codeFolders)).toHaveLength(6);
});

test("the local stack gets the template and every function's code", async () => {
  const { template, codeFolders, ...rest } = await synthesize("dev", folder);
  expect(rest.stackName).toBe("Siltstone-dev");
  expect(Object.keys(template.Outputs).sort()).toEqual([...outputNames].sort());
  const functions = Object.entries(template.Resources).filter(
    ([, { Type }]) => Type === "AWS::Lambda::Function",
  );
  expect(Object.keys(codeFolders).sort()).toEqual(functions.map(([id]) => id).sort());
  for (const path of Object.values(codeFolders)) expect(existsSync(join(path, "handler.js"))).toBe(true);

  const again = mkdtempSync(join(tmpdir(), "siltstone-app-"));
  try {
    expect((await synthesize("dev", again)).template).toEqual(template);
  } finally {
    rmSync(again, { recursive: true });
  }
});
