/** The model of items and jobs, explored to the end; and with each protection taken out, to see that it would notice. */
import { explore } from "./explore.ts";
import { jobModelWithout } from "./jobs-model.ts";
import { jobConfigurations, jobCovered, jobMutants } from "./jobs-rules.ts";

const statesMax = 400_000;

describe("the model of items and jobs", () => {
  for (const { name } of jobConfigurations)
    it(`holds in every reachable state: ${name}`, () => {
      const { outcome, states, fault, trace } = explore(jobModelWithout(name), statesMax);
      expect({ outcome, fault, trace }).toEqual({ outcome: "holds", fault: null, trace: [] });
      expect(states).toBeGreaterThan(300);
    });

  for (const { without, configuration, finds } of jobMutants)
    it(`finds the fault without ${without.join(" and ")}: ${finds}`, () => {
      const { outcome, fault, trace } = explore(jobModelWithout(configuration, without), statesMax);
      expect(outcome).toBe("violated");
      expect(fault).toMatch(new RegExp(`^${finds}`));
      expect(trace.length).toBeGreaterThan(3);
    });

  for (const rule of jobCovered)
    it(`another protection covers for ${rule}`, () => {
      for (const { name } of jobConfigurations)
        expect(explore(jobModelWithout(name, [rule]), statesMax).fault).toBeNull();
    });
});
