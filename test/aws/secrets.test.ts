/** Keys of providers from Secrets Manager, over HTTP: what is no key is never sent as one, and never shown. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { secretReader } from "../../lib/aws/secrets.ts";

let server: Server;
let answer: { status: number; body: object };
let asked = 0;
beforeAll(async () => {
  server = createServer((_, response) => {
    asked++;
    response.writeHead(answer.status, { "content-type": "application/x-amz-json-1.1" });
    response.end(JSON.stringify(answer.body));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "local",
    AWS_SECRET_ACCESS_KEY: "local",
  });
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
const arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:openai";
const secret = (SecretString: string) => {
  answer = { status: 200, body: { SecretString } };
};

test.each([
  ["a text", "sk-123\n"],
  ["JSON with key", '{"key":"sk-123"}'],
  ["JSON with apiKey", '{ "apiKey": " sk-123 " }'],
])("%s is a key", async (_, text) => {
  secret(text);
  expect(await secretReader(arn)()).toBe("sk-123");
});

test.each([
  ["JSON with another field", '{\n  "api_key": "sk-123"\n}'],
  ["two lines", "sk-123\nsk-456"],
  ["nothing", ""],
])("%s is no key, which is said without it", async (_, text) => {
  secret(text);
  const refused = await secretReader(arn)().catch((error: Error) => error);
  expect(refused).toMatchObject({ kind: "unavailable", message: expect.stringContaining(arn) });
  expect((refused as Error).message).not.toContain("sk-");
});

test("a key is kept; what failed is asked for again, and says which right is missing", async () => {
  answer = { status: 400, body: { __type: "AccessDeniedException", message: "no" } };
  const read = secretReader(arn);
  await expect(read()).rejects.toThrow(/secretsmanager:GetSecretValue/);
  secret("sk-123");
  expect(await read()).toBe("sk-123");
  const before = asked;
  expect(await read()).toBe("sk-123");
  expect(asked).toBe(before);
});
