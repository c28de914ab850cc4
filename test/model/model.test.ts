/**
 * The protocol's model, explored to the end in its small configurations; and with each protection taken out, to see
 * that the model would notice. `npm run model` explores the large ones (docs/model.md).
 */
import { configurationNamed, configurations, modelWithout } from "./configurations.ts";
import { explore, type Model } from "./explore.ts";
import { mutants } from "./mutants.ts";

const statesMax = 200_000;

describe("the protocol's model", () => {
  for (const configuration of configurations.filter(({ quick }) => quick)) {
    it(`holds in every reachable state: ${configuration.name}`, () => {
      const { outcome, states, fault, trace } = explore(modelWithout(configuration, []), statesMax);
      expect({ outcome, fault, trace }).toEqual({ outcome: "holds", fault: null, trace: [] });
      // An explorer that stops early would find nothing wrong either.
      expect(states).toBeGreaterThan(500);
    });
  }

  for (const { without, configuration, finds } of mutants) {
    it(`finds the fault without ${without.join(" and ")}: ${finds}`, () => {
      const result = explore(modelWithout(configurationNamed(configuration), without), statesMax);
      expect(result.outcome).toBe("violated");
      expect(result.fault).toMatch(new RegExp(`^${finds}`));
      expect(result.trace.length).toBeGreaterThan(3);
    });
  }
});

describe("the reductions of the states hide nothing", () => {
  // `npm run model -- --quick --plain` compares all quick configurations.
  it("the same verdicts without them: read", () => {
    const read = configurationNamed("read");
    expect(explore(modelWithout(read, [], { plain: true }), statesMax).outcome).toBe("holds");
    expect(explore(modelWithout(read, ["listBeforePointer"], { plain: true }), statesMax).fault).toMatch(
      /^I7/,
    );
    expect(explore(modelWithout(read, ["deleteAfterCommit"], { plain: true }), statesMax).fault).toMatch(
      /^I1/,
    );
  });
});

describe("the explorer", () => {
  /** Two counters that each count to three. */
  const counters = (fault: Model<readonly [number, number]>["fault"]): Model<readonly [number, number]> => ({
    initial: [0, 0],
    steps: ([a, b]) => [
      ...(a < 3 ? [{ does: "a", next: [a + 1, b] as const }] : []),
      ...(b < 3 ? [{ does: "b", next: [a, b + 1] as const }] : []),
    ],
    pack: String,
    fault,
  });

  it("visits every state once", () => {
    const { outcome, states, transitions, depth } = explore(
      counters(() => null),
      100,
    );
    expect({ outcome, states, transitions, depth }).toEqual({
      outcome: "holds",
      states: 16,
      transitions: 24,
      depth: 6,
    });
  });

  it("gives a shortest way to a fault", () => {
    const { outcome, fault, trace } = explore(
      counters(([a, b]) => (a === 2 && b === 1 ? "met" : null)),
      100,
    );
    expect({ outcome, fault, trace }).toEqual({ outcome: "violated", fault: "met", trace: ["a", "a", "b"] });
  });

  it("says when it did not see everything", () => {
    expect(
      explore(
        counters(() => null),
        5,
      ).outcome,
    ).toBe("truncated");
  });
});
