/**
 * Every right of the deployed roles, and of those that grants give, is used, and needed (PKG-4). The store is driven step by step under the
 * template's roles, and what each role was allowed is recorded as it was asked. Then each right is taken away in turn: each action on each
 * resource of each statement. A right without which every recorded request is allowed all the same is one that nobody needs.
 *
 * `npm run test:wide` deploys the store without each statement in turn as well, and sees one of the steps fail.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Synthesis } from "../../scripts/build/synthesize.ts";
import { recordedIn, rightsOf, unneeded } from "./needed-rights.ts";
import { RightsStore, steps, synthesis } from "./rights-steps.ts";

jest.setTimeout(240_000);
const folder = mkdtempSync(join(tmpdir(), "siltstone-cdk-"));
let synthesized: Synthesis;
beforeAll(async () => {
  synthesized = await synthesis(join(folder, "cdk.out"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What Lambda, and the scheduler when it cannot deliver, do in a role's name: that is not emulated. */
const isNotEmulated = ({ action, caller }: { action: string; caller: string }) =>
  action.includes("logs:") || (caller.includes("ScheduleRole") && !action.includes("lambda:InvokeFunction"));

describe("with all rights", () => {
  const store = new RightsStore();
  beforeAll(() => store.start(synthesized));
  afterAll(() => store.stop());

  for (const { title, run } of steps)
    test(title, async () => {
      await run(store);
    });

  test("each right, taken away, has a request refused that a step above has made", () => {
    const { rules } = store.stack.access;
    const rights = rightsOf(rules).filter((right) => !isNotEmulated(right));
    expect(rights.length).toBeGreaterThan(40);
    const callers = ["role.writer", "role.narrowWriter", "role.asker", "role.maker"];
    expect(rights.map(({ caller }) => caller)).toEqual(expect.arrayContaining(callers));
    expect(unneeded(rules, rights, recordedIn(store.recordFile))).toEqual([]);
  });
});

type Document = { Statement: { Sid?: string; Action: unknown; Principal?: unknown }[] };
/** Of what rights are given by: roles' policies, and the key's. */
const documentIn: Readonly<Record<string, string>> = {
  "AWS::IAM::Policy": "PolicyDocument",
  "AWS::KMS::Key": "KeyPolicy",
};

/** Of the template's policies, by logical id and place. */
const statements = (): { name: string; policy: string; index: number }[] =>
  Object.entries(synthesized.template.Resources).flatMap(([policy, { Type, Properties }]) => {
    const document = Properties?.[documentIn[Type] ?? ""] as Document | undefined;
    return (document?.Statement ?? []).flatMap((one, index) => {
      const action = JSON.stringify(one.Action);
      const isLeftOut = one.Principal === undefined && isNotEmulated({ action, caller: policy });
      return isLeftOut ? [] : [{ name: `${policy}[${index}]: ${action}`, policy, index }];
    });
  });

function withoutStatement(policy: string, index: number): Synthesis {
  const Resources = structuredClone(synthesized.template.Resources);
  const { Type, Properties } = Resources[policy]!;
  (Properties![documentIn[Type]!] as Document).Statement.splice(index, 1);
  return { ...synthesized, template: { ...synthesized.template, Resources } };
}

/** The step that fails when the store is deployed so; null when none does. */
async function failingStep(deployed: Synthesis): Promise<string | null> {
  const store = new RightsStore();
  try {
    const isDeployed = await store.start(deployed).then(
      () => true,
      () => false,
    );
    if (!isDeployed) return "the stack is deployed";
    for (const { title, run } of steps) {
      const isDone = await run(store).then(
        () => true,
        () => false,
      );
      if (!isDone) return title;
    }
    return null;
  } finally {
    await store.stop();
  }
}

const wide = process.env.WIDE === "1" ? describe : describe.skip;
wide("deployed without a statement", () => {
  test("each of them, one of the steps fails", async () => {
    const unseen: string[] = [];
    for (const { name, policy, index } of statements()) {
      const failed = await failingStep(withoutStatement(policy, index));
      process.stderr.write(`${name}: ${failed ?? "NOTHING FAILS"}\n`);
      if (failed === null) unseen.push(name);
    }
    expect(unseen).toEqual([]);
  }, 3_600_000);
});
