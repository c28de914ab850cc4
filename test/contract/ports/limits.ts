/** The contract of LimitTable, for every implementation. Each test uses a name of its own. */
import { randomUUID } from "node:crypto";
import type { LimitTable, LimitWindow } from "../../../lib/embedding/provider.ts";

const racers = 40;

export function limitTableContract(name: string, makeTable: () => Promise<LimitTable>): void {
  describe(`limit table contract: ${name}`, () => {
    let limits: LimitTable;
    let window: LimitWindow;
    beforeEach(async () => {
      limits = await makeTable();
      window = { name: `openai/${randomUUID()}`, startMs: 1_790_000_000_000, lengthMs: 10_000 };
    });
    const most = { requests: 10, tokens: 1_000 };

    test("what does not fit is refused whole, and takes nothing", async () => {
      expect(await limits.take(window, { requests: 1, tokens: 900 }, most)).toBe(true);
      expect(await limits.take(window, { requests: 1, tokens: 101 }, most)).toBe(false);
      expect(await limits.take(window, { requests: 10, tokens: 1 }, most)).toBe(false);
      expect(await limits.take(window, { requests: 9, tokens: 100 }, most)).toBe(true);
      expect(await limits.take(window, { requests: 0, tokens: 1 }, most)).toBe(false);
    });

    test("an amount as large as the most fits into an empty window", async () => {
      expect(await limits.take(window, most, most)).toBe(true);
    });

    test(`of ${racers} racers as many win as fit`, async () => {
      const take = () => limits.take(window, { requests: 1, tokens: 1 }, most);
      const won = await Promise.all(Array.from({ length: racers }, take));
      expect(won.filter((one) => one)).toHaveLength(most.requests);
    });

    test("each window and each name has a budget of its own", async () => {
      expect(await limits.take(window, most, most)).toBe(true);
      expect(await limits.take({ ...window, startMs: window.startMs + 10_000 }, most, most)).toBe(true);
      expect(await limits.take({ ...window, name: `${window.name}-2` }, most, most)).toBe(true);
    });

    test("a correction gives budget back, and takes it", async () => {
      expect(await limits.take(window, { requests: 1, tokens: 1_000 }, most)).toBe(true);
      await limits.correct(window, -400);
      expect(await limits.take(window, { requests: 1, tokens: 401 }, most)).toBe(false);
      expect(await limits.take(window, { requests: 1, tokens: 300 }, most)).toBe(true);
      await limits.correct(window, 5_000);
      expect(await limits.take(window, { requests: 1, tokens: 1 }, most)).toBe(false);
    });
  });
}
