/**
 * The package as a stranger gets it (PKG-1, PKG-2): packed, installed into an empty folder where there is no compiler, and used
 * there from a project as `cdk init` makes it.
 */
import { isBuiltin } from "node:module";
import { join, posix } from "node:path";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { CloudFormationServer } from "../support/cloudformation.ts";
import { Stranger, stackSource, upstreamSource, writeUpstream } from "./stranger.ts";

jest.setTimeout(240_000);
const stranger = new Stranger();
let stack: LocalStack | undefined;
beforeAll(() => stranger.prepare());
afterAll(async () => {
  await stack?.stop();
  stranger.remove();
});

const testSource = `
import { App } from 'aws-cdk-lib/core';
import { Template } from 'aws-cdk-lib/assertions';
import { AppStack } from '../lib/app-stack';
import { createJobs } from 'siltstone/jobs';
import { createProducer, SiltstoneError } from 'siltstone/produce';

test('the store is in the stack', () => {
  const app = new App({ context: { 'aws:cdk:bundling-stacks': [] } });
  Template.fromStack(new AppStack(app, 'Test')).resourceCountIs('AWS::DynamoDB::Table', 1);
});
test('the client says what is missing', () => {
  expect(() => createProducer()).toThrow(SiltstoneError);
  expect(() => createJobs()).toThrow('SILTSTONE_TABLE must be');
});
`;
/** Jest's own transform is @swc/jest there; here it is esbuild, which is installed. */
const transformSource = `
const { transformSync } = require('esbuild');
module.exports = { process: (source, file) => ({
  code: transformSync(source, { loader: 'ts', format: 'cjs', sourcefile: file }).code,
}) };
`;
const moduleSource = `
import { createJobs, type Jobs, type SaveItem } from 'siltstone/jobs';
import { createProducer, type Producer } from 'siltstone/produce';
export const items: readonly SaveItem[] = [{ id: 'a', text: 'b' }];
export const jobs = (): Jobs => createJobs();
import { VectorStore, type VectorStoreProps } from 'siltstone/constructs';
const props: VectorStoreProps = { stage: 'dev' };
const made: (() => Producer)[] = [createProducer];
// @ts-expect-error no such prop
const wrong: VectorStoreProps = { stages: 'dev' };
console.log(typeof VectorStore, made.length, typeof props, typeof wrong);
`;

beforeAll(() => {
  const uses = `store.grantProduce(upstream, { collections: ['notes'] });
    store.addCollection('notes', { dims: 3, metric: 'cosine' });`;
  stranger.write("lib/app-stack.ts", stackSource("", uses));
  stranger.write("lambda/upstream.ts", upstreamSource);
  stranger.write("test/app.test.ts", testSource);
  stranger.write("test/transform.cjs", transformSource);
  stranger.write("module/package.json", '{"type":"module"}');
  stranger.write("module/main.ts", moduleSource);
  const config = stranger.read("jest.config.js");
  expect(config).toContain("['@swc/jest']");
  stranger.write("jest.config.js", config.replace("['@swc/jest']", "'<rootDir>/test/transform.cjs'"));
});

const packed = (path: string): string => stranger.read(join("node_modules/siltstone", path));

test("its dependencies are what its code imports, and nothing of it is built or run at installation", () => {
  const manifest = JSON.parse(packed("package.json")) as {
    dependencies: object;
    peerDependencies: Record<string, string>;
    optionalDependencies?: object;
    scripts: Record<string, string>;
  };
  const code = stranger.files.filter((path) => /^dist\/((esm|cjs)\/[^/]+\.js|silt\.cjs)$/.test(path));
  expect(code).toHaveLength(9);
  const imported = code.flatMap((path) =>
    [
      ...packed(path).matchAll(
        /(?:\bfrom |\brequire\(|\bimport\(|^import )"((?:node:|@[\w-]+\/)?[\w-][\w./-]*)"/gm,
      ),
    ].map(([, name]) => name!),
  );
  // pg asks for pg-native where a user has installed it; of LanceDB's name we are told by no import (scripts/cli/lance-db.ts).
  const packages = imported
    .filter((name) => !isBuiltin(name) && name !== "pg-native")
    .map((name) => (name.startsWith("@") ? name.split("/", 2).join("/") : name.split("/", 1)[0]));
  const { "@lancedb/lancedb": lanceDb, ...peers } = manifest.peerDependencies;
  expect(lanceDb).toBeDefined();
  const declared = [...Object.keys(manifest.dependencies), ...Object.keys(peers)];
  expect([...new Set(packages)].sort()).toEqual(declared.sort());
  expect(manifest.optionalDependencies).toBeUndefined();
  for (const script of ["preinstall", "install", "postinstall", "prepare"])
    expect(manifest.scripts).not.toHaveProperty(script);
});

test("it holds the handlers of both architectures, the addons, declarations for both kinds of module, and no source or test", () => {
  for (const folder of ["x86_64", "arm64"])
    for (const name of ["compactor/addon.node", "query/addon.node", "producer/handler.js"])
      expect(stranger.files).toContain(`dist/lambdas/${folder}/${name}`);
  for (const variant of ["linux-x64", "linux-x64-v3", "linux-arm64"])
    expect(stranger.files).toContain(`native/${variant}/addon.node`);
  expect(stranger.files.filter((path) => /(?<!\.d)\.ts$|^test\/|^native\/.*\.(cc|h)$/.test(path))).toEqual(
    [],
  );
  const declarations = (kind: string) =>
    stranger.files.filter((path) => path.startsWith(`dist/${kind}/types/`)).map((path) => path.slice(8));
  expect(declarations("esm")).toEqual(declarations("cjs"));
  const bytes = stranger.files.reduce((sum, path) => sum + Buffer.byteLength(packed(path)), 0);
  expect(bytes).toBeLessThan(25e6);
});

test("its documents lead to nothing that is not in it", () => {
  const documents = stranger.files.filter((path) => path.endsWith(".md"));
  expect(documents.length).toBeGreaterThan(20);
  const dead = documents.flatMap((path) =>
    [...packed(path).matchAll(/\]\((?!https?:|#)([^)\s#]+)[^)]*\)/g)]
      .map(([, target]) => posix.join(posix.dirname(path), target!))
      .filter(
        (target) =>
          !stranger.files.some((one) => one === target || one.startsWith(`${target.replace(/\/$/, "")}/`)),
      )
      .map((target) => `${path}: ${target}`),
  );
  expect(dead).toEqual([]);
});

test("the project compiles, as CommonJS and as a module", async () => {
  const config = JSON.parse(stranger.read("tsconfig.json")) as { compilerOptions: object };
  const compilerOptions = { ...config.compilerOptions, skipLibCheck: false };
  stranger.write("tsconfig.strict.json", JSON.stringify({ ...config, compilerOptions, include: ["module"] }));
  await stranger.run("node", ["node_modules/typescript/bin/tsc"]);
  await stranger.run("node", ["node_modules/typescript/bin/tsc", "-p", "tsconfig.strict.json"]);
});

test("jest runs there, and so does a module", async () => {
  const jestProgram = "node_modules/jest/bin/jest.js";
  await stranger.run("node", [jestProgram, "--silent"], { CDK_VALIDATION: "false" });
  const program =
    "import('siltstone/constructs').then(async (a) => console.log(typeof a.VectorStore, typeof (await import('siltstone/produce')).createProducer))";
  expect(await stranger.run("node", ["-e", program])).toBe("function function\n");
});

describe("deployed", () => {
  const cloudFormation = new CloudFormationServer();
  const silt = (...args: string[]) =>
    stranger.run("node", [stranger.bin("silt"), ...args, "--json"], {
      ...stack!.environment,
      AWS_ENDPOINT_URL_CLOUDFORMATION: cloudFormation.endpoint,
      SILTSTONE_STACK: "AppStack",
    });
  const write = (call: object) => writeUpstream(stack!, call);

  beforeAll(async () => {
    stack = await startLocalStack({
      ...(await stranger.synthesize("AppStack")),
      stateDir: join(stranger.folder, "state"),
      ports: { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 },
      scheduleEveryMs: null,
    });
    await cloudFormation.start();
    cloudFormation.stacks = [{ name: "AppStack", outputs: stack.outputs }];
  });
  afterAll(() => cloudFormation.stop());

  test("an upstream Lambda that bundles the client writes, and its `silt` compacts and queries", async () => {
    await silt("collection", "create", "others", "--dims", "3");
    const records = [
      { id: "a", vector: [1, 0, 0], document: "first" },
      { id: "b", vector: [0, 1, 0] },
    ];
    expect(await write({ collection: "notes", records })).toMatchObject({ written: 2, notified: true });
    // What its grant does not name.
    expect(await write({ collection: "others", records })).toMatchObject({ kind: "notFound" });
    expect(JSON.parse(await silt("compact", "notes"))).toMatchObject({ failed: 0 });
    const found = JSON.parse(await silt("query", "notes", "--vector", "[1,0.1,0]"));
    expect(found).toMatchObject({ snapshotVersion: 1 });
    expect(found.results.map(({ id }: { id: string }) => id)).toEqual(["a", "b"]);
    // It opens segments with the addon that came with it.
    expect(JSON.parse(await silt("verify", "notes"))).toMatchObject({ ok: true });
  });

  test("its `silt` says what is wrong, by exit code", async () => {
    await expect(silt("count", "nothing")).rejects.toThrow('"kind":"notFound"');
    await expect(silt("count", "notes", "--stack", "Moon")).rejects.toThrow('"refusal":"noStack"');
  });
});
