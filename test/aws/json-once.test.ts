/** QRY-3: how often a function makes JSON of what it answers: Lambda does it, and the handler not once more. */
import { lambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { telemetry } from "../../lib/aws/telemetry.ts";
import { answerBytesMax } from "../../lib/core/model/answer-size.ts";

const service = telemetry({ stage: "dev", store: "s", service: "query" });
const context = { awsRequestId: "r", getRemainingTimeInMillis: () => 1_000 };
const url = { version: "2.0", rawPath: "/", requestContext: { http: { method: "POST" } }, body: "{}" };
const answering = (answer: object) =>
  lambdaHandler({ telemetry: service, failureMetric: "QueryErrors" }, async () => answer);

/** How many characters of JSON a call made. */
async function madeBy(answer: object, event: object): Promise<number> {
  let made = 0;
  const { stringify } = JSON;
  const spy = jest.spyOn(JSON, "stringify").mockImplementation(((value: unknown) => {
    const text = stringify(value);
    made += text?.length ?? 0;
    return text;
  }) as typeof JSON.stringify);
  await answering(answer)(event, context);
  spy.mockRestore();
  return made;
}

const records = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    id: `r${i}`,
    document: 'a "quoted" \\ text',
    vector: [0.1, i],
  }));

test("an answer that is surely small is left to Lambda; over a URL its text is made once", async () => {
  const answer = { results: records(1_000), milliseconds: 1 };
  const whole = JSON.stringify(answer).length;
  expect(await madeBy(answer, {})).toBe(0);
  expect(await madeBy(answer, url)).toBeLessThanOrEqual(whole);
});

test.each([
  ["directly", {}, 0],
  ["over a URL", url, 1],
])("what an answer's JSON takes %s is bounded to the byte", async (_, event, escapes) => {
  // A backslash: two bytes of JSON, four of JSON in JSON.
  const wrapped = (text: string) => {
    const json = JSON.stringify({ text });
    return Buffer.byteLength(escapes ? JSON.stringify(json) : json);
  };
  const unit = wrapped("\\") - wrapped("");
  const fits = "\\".repeat(Math.floor((answerBytesMax - wrapped("")) / unit));
  await expect(answering({ text: fits })(event, context)).resolves.toMatchObject(
    escapes ? { statusCode: 200 } : { text: fits },
  );
  const refused = answering({ text: `${fits}\\` })(event, context);
  if (escapes) await expect(refused).resolves.toMatchObject({ statusCode: 400 });
  else await expect(refused).rejects.toMatchObject({ name: "invalid" });
});
