/** `--stage`, `--stack` and SILTSTONE_STACK: which store a command acts upon, and how its stack is found. */
import { stackOutputs } from "../../lib/aws/stack-outputs.ts";
import { outputNames, storeOutputs } from "../../lib/contract/functions.ts";
import { connect } from "../../scripts/cli/deployment.ts";
import { chosenStore } from "../../scripts/cli/store-choice.ts";
import { CloudFormationServer } from "../support/cloudformation.ts";
import { MemoryCli } from "./memory-deployment.ts";

test.each([
  [{}, {}, { name: "local", stack: null }],
  [{ stage: "local" }, { SILTSTONE_STACK: "Mine" }, { name: "local", stack: null }],
  [{ stage: "prod" }, { SILTSTONE_STACK: "Mine" }, { name: "prod", stack: "Siltstone-prod" }],
  [{ stage: "pr-123" }, {}, { name: "pr-123", stack: "Siltstone-pr-123" }],
  [{}, { SILTSTONE_STACK: "Mine" }, { name: "Mine", stack: "Mine" }],
  [{}, { SILTSTONE_STACK: "" }, { name: "local", stack: null }],
  [{ stack: "Other" }, { SILTSTONE_STACK: "Mine" }, { name: "Other", stack: "Other" }],
  [{ stack: "team=search" }, {}, { name: "team=search", stack: "team=search" }],
])("%j with %j is %j", (options, variables, expected) => {
  expect(chosenStore(options, variables)).toMatchObject(expected);
});

test.each([
  [{ stage: "prod", stack: "Mine" }, {}, "--stage and --stack: both name a store; give one of them"],
  [{ stage: "Prod" }, {}, "--stage: must be local, or 1 to 32 of"],
  [
    { stack: "my stack" },
    {},
    '--stack: must be a stack\'s name, or a tag of it as KEY=VALUE, got "my stack"',
  ],
  [{}, { SILTSTONE_STACK: "7" }, "SILTSTONE_STACK: must be a stack's name"],
])("%j with %j is refused", (options, variables, message) => {
  expect(() => chosenStore(options, variables)).toThrow(message);
});

test("the command line takes it before or behind the command, and refuses it before it connects", async () => {
  const cli = new MemoryCli();
  const environmentOf = async (args: string[]) => (await cli.run(args)).json().environment;
  expect(await environmentOf(["--stack", "Mine", "status", "--json"])).toBe("Mine");
  expect(await environmentOf(["status", "--json", "--stack", "team=search"])).toBe("team=search");
  process.env.SILTSTONE_STACK = "Named";
  try {
    expect(await environmentOf(["status", "--json"])).toBe("Named");
    expect(await environmentOf(["status", "--json", "--stage", "prod"])).toBe("prod");
  } finally {
    delete process.env.SILTSTONE_STACK;
  }
  expect(await cli.run(["status", "--stage", "prod", "--stack", "Mine"])).toMatchObject({ code: 2 });
  await cli.close();
});

describe("a stack is found", () => {
  const cloudFormation = new CloudFormationServer();
  const saved = { ...process.env };
  const outputsOf = (name: string) =>
    Object.fromEntries(
      outputNames.map((output) => [output, `https://127.0.0.1/1/${name}-${output}`.slice(8)]),
    );
  beforeAll(async () => {
    await cloudFormation.start();
    Object.assign(process.env, {
      AWS_ENDPOINT_URL_CLOUDFORMATION: cloudFormation.endpoint,
      AWS_REGION: "eu-central-1",
      AWS_ACCESS_KEY_ID: "local",
      AWS_SECRET_ACCESS_KEY: "local",
      AWS_MAX_ATTEMPTS: "1",
    });
    cloudFormation.stacks = [
      { name: "Web", outputs: { Address: "x" }, tags: { team: "search", stage: "prod" } },
      { name: "Search", outputs: outputsOf("Search"), tags: { team: "search", stage: "prod" } },
      { name: "SearchDev", outputs: outputsOf("SearchDev"), tags: { team: "search", stage: "dev" } },
      { name: "Siltstone-dev", outputs: outputsOf("Siltstone"), tags: { note: "a=b" } },
    ];
  });
  afterAll(() => {
    process.env = saved;
    cloudFormation.stop();
  });
  const bucketOf = async (stack: string) => (await stackOutputs(stack, storeOutputs.bucket)).BucketName;

  test("by its name", async () => {
    expect(await bucketOf("Search")).toContain("Search-BucketName");
  });

  test("by a tag that only one stack with a store has, on whatever page", async () => {
    expect(await bucketOf("stage=prod")).toContain("Search-BucketName");
    expect(await bucketOf("note=a=b")).toContain("Siltstone-BucketName");
  });

  test("or it is said what is wrong", async () => {
    await expect(bucketOf("team=search")).rejects.toThrow(
      "the tag team=search is on several stacks (Search, SearchDev): name one of them",
    );
    await expect(bucketOf("stage=none")).rejects.toThrow(
      "stack of a store with the tag stage=none does not exist in eu-central-1 of this account",
    );
    await expect(connect(chosenStore({ stack: "Gone" }, {}))).rejects.toThrow(
      "stack Gone does not exist in eu-central-1 of this account; if it is in another region say so (AWS_REGION=…), else deploy it with `cdk deploy`",
    );
    await expect(connect(chosenStore({ stack: "Web" }, {}))).rejects.toThrow(
      "Web: its stack has no output BucketName",
    );
  });
});
