import { parseQueryEvent } from "../../lambdas/query/event.ts";

const refusal = (event: unknown): string => {
  try {
    parseQueryEvent(event);
    return "accepted";
  } catch (error) {
    return (error as Error).message;
  }
};

test("query is the operation when no operation is named, and one token is a list of one", () => {
  expect(parseQueryEvent({ collection: "docs", text: "a", atLeast: "w1.x" })).toEqual({
    op: "query",
    call: { collection: "docs", text: "a", atLeast: ["w1.x"] },
  });
  expect(parseQueryEvent({ op: "get", collection: "docs", ids: ["a"], atLeast: ["x", "y"] })).toEqual({
    op: "get",
    call: { collection: "docs", ids: ["a"], atLeast: ["x", "y"] },
  });
  expect(parseQueryEvent({ op: "ping" })).toEqual({ op: "ping", call: {} });
});

test("how long to wait for query groups, and which calls do without some of them", () => {
  const call = { collection: "docs", deadlineMs: 500 };
  expect(parseQueryEvent({ ...call, text: "a", allowPartial: true })).toMatchObject({
    call: { deadlineMs: 500, allowPartial: true },
  });
  expect(parseQueryEvent({ op: "count", ...call, allowPartial: true })).toMatchObject({ op: "count" });
  expect(refusal({ op: "get", ...call, ids: [] })).toBe("accepted");
  expect(refusal({ op: "get", ...call, ids: [], allowPartial: true })).toMatch(
    /Unrecognized key: "allowPartial"/,
  );
  expect(refusal({ op: "stats", ...call, allowPartial: true })).toMatch(/Unrecognized key: "allowPartial"/);
});

test.each([
  [
    { op: "delete", collection: "docs" },
    /^op: must be one of query, get, count, stats, health, ping, got "delete"/,
  ],
  [{ op: 7 }, /^op: must be one of/],
  [null, /expected object/],
  ["text", /expected object/],
  [{ op: "query", vector: [1] }, /^collection: expected string/],
  [{ collection: "docs", text: "a", top_k: 3 }, /Unrecognized key: "top_k"/],
  [{ op: "count", collection: "docs", topK: 3 }, /Unrecognized key: "topK"/],
  [{ op: "stats", collection: "docs", filter: {} }, /Unrecognized key: "filter"/],
  [{ op: "health", collections: "docs" }, /Unrecognized key: "collections"/],
  [{ op: "get", collection: "docs", ids: "a" }, /^ids: expected array/],
  [{ collection: "docs", text: "a", include: ["vectors"] }, /^include\.0: /],
  [{ collection: "docs", text: "a", consistency: "weak" }, /^consistency: /],
  [{ collection: "docs", text: "a", topK: "3" }, /^topK: expected number/],
  [{ collection: "docs", text: "a", atLeast: Array(101).fill("w1.x") }, /^atLeast: /],
])("%j is refused by name", (event, reason) => {
  expect(refusal(event)).toMatch(reason);
});
