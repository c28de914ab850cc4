/** The operator policy: rights on one store, named one by one; what the commands need of it, test/cli/operating.test.ts sees. */
import { Template } from "aws-cdk-lib/assertions";
import { Key } from "aws-cdk-lib/aws-kms";
import { OperatorPolicy, VectorStore } from "../../lib/constructs/index.ts";
import { handlersFolder, storeStack } from "./store-template.ts";

interface Policy {
  readonly Properties: {
    readonly PolicyDocument: {
      readonly Statement: readonly { Effect: string; Action: string | string[]; Resource: unknown }[];
    };
  };
}
const statementsOf = (template: Template) =>
  Object.values(template.findResources("AWS::IAM::ManagedPolicy") as Record<string, Policy>).flatMap(
    ({ Properties }) => Properties.PolicyDocument.Statement,
  );

test("rights are named one by one, and all but the alarms' are on this store's resources", () => {
  const { stack, store } = storeStack();
  new OperatorPolicy(stack, "Operators", { store });
  const statements = statementsOf(Template.fromStack(stack));
  expect(statements.length).toBeGreaterThan(5);
  for (const { Effect, Action, Resource } of statements) {
    expect(Effect).toBe("Allow");
    expect(JSON.stringify(Action)).not.toContain("*");
    if (Action !== "cloudwatch:DescribeAlarms") expect([Resource].flat()).not.toContain("*");
    expect(JSON.stringify(Action)).not.toMatch(
      /iam:|Update(Function|Schedule)|PutBucket|DeleteObjectVersion/,
    );
  }
});

test("with a key of one's own it may be used, through the services that hold the store", () => {
  const { stack } = storeStack();
  const encryptionKey = new Key(stack, "Key");
  const store = new VectorStore(stack, "Encrypted", {
    handlersFolder,
    outputs: false,
    storage: { encryptionKey },
  });
  new OperatorPolicy(stack, "Operators", { store });
  const kms = statementsOf(Template.fromStack(stack)).filter(({ Action }) =>
    JSON.stringify(Action).includes("kms:"),
  );
  expect(kms.length).toBeGreaterThanOrEqual(3);
  for (const statement of kms) expect(JSON.stringify(statement)).toContain("kms:ViaService");
});
