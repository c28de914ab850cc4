import { env } from "../../lib/contract/names.ts";
import { parseProviders } from "../../lib/embedding/provider-access.ts";

const openai = { endpoint: "https://api.openai.com/v1", models: ["text-embedding-3-small"] };
const parse = (given: unknown, overrides?: unknown, stage = "prod") =>
  parseProviders(
    {
      ...(given === undefined
        ? {}
        : { [env.providers]: typeof given === "string" ? given : JSON.stringify(given) }),
      ...(overrides === undefined ? {} : { [env.providerOverrides]: JSON.stringify(overrides) }),
    },
    stage,
  );

test("nothing given is no provider; a provider is completed with defaults", () => {
  expect(parse(undefined)).toEqual({});
  expect(parse("")).toEqual({});
  expect(parse({ openai })).toEqual({
    openai: {
      ...openai,
      secretArn: null,
      inputsPerRequest: null,
      requestsPerMinute: 600,
      tokensPerMinute: 1_000_000,
      requestsAtOnce: 4,
    },
  });
  expect(parse({ bedrock: { models: ["amazon.titan-embed-text-v2:0"] } }).bedrock).toMatchObject({
    endpoint: null,
  });
});

test.each<[string, unknown, string]>([
  ["no JSON", "{", 'must be a JSON object of providers, got "{"'],
  ["a list", [], "must be a JSON object of providers"],
  [
    "an unknown provider",
    { acme: openai },
    "SILTSTONE_PROVIDERS.acme is no provider; there are bedrock, openai",
  ],
  ["no object", { openai: 3 }, "SILTSTONE_PROVIDERS.openai must be an object"],
  ["no endpoint", { openai: { models: ["m"] } }, "openai.endpoint must be an http(s) URL"],
  [
    "credentials in a URL",
    { openai: { ...openai, endpoint: "https://u:p@x/v1" } },
    "without query or credentials",
  ],
  ["an endpoint for Bedrock", { bedrock: openai }, "bedrock.endpoint must be absent"],
  [
    "a secret for Bedrock",
    { bedrock: { models: ["m"], secretArn: "arn:aws:secretsmanager:x" } },
    "bedrock.secretArn must be absent",
  ],
  [
    "a secret that is none",
    { openai: { ...openai, secretArn: "sk-123" } },
    "openai.secretArn must be the ARN of a secret, and not its text",
  ],
  ...[
    ["arn:aws:secretsmanager:x"],
    { toString: 1 },
    {},
    7,
    "arn:aws:s3:::x",
    "arn:aws:secretsmanager:a\n",
  ].map((secretArn): [string, object, string] => [
    `a secret of another kind, ${JSON.stringify(secretArn)},`,
    { openai: { ...openai, secretArn } },
    "openai.secretArn must be the ARN of a secret",
  ]),
  ...[
    ...[
      "javascript:alert(1)",
      "https://x/\n",
      " https://x",
      "https:x",
      "https://x/?",
      "https://x/#",
      "https://@x/",
    ],
    ...[
      "https://x\\@y/",
      "https://",
      "https://x:99999/",
      ["https://x"],
      7,
      { href: "https://x" },
      "x".repeat(1_001),
    ],
  ].map((endpoint): [string, object, string] => [
    `an endpoint of another kind, ${JSON.stringify(endpoint).slice(0, 30)},`,
    { openai: { ...openai, endpoint } },
    "openai.endpoint must be an http(s) URL",
  ]),
  ...["m", ["a b"], [{}], [""], ["é"], Array(33).fill("m"), { 0: "m", length: 1 }].map(
    (models): [string, object, string] => [
      `models of another kind, ${JSON.stringify(models).slice(0, 30)},`,
      { openai: { ...openai, models } },
      "openai.models must be a list of 1 to 32 names of models",
    ],
  ),
  ["a provider that every object has", { toString: {} }, "SILTSTONE_PROVIDERS.toString is no provider"],
  ["a prototype", JSON.parse('{"__proto__":{"models":["m"]}}') as object, "__proto__ is no provider"],
  ["no object", { openai: [] }, "SILTSTONE_PROVIDERS.openai must be an object"],
  [
    "a number beyond all",
    { openai: { ...openai, tokensPerMinute: 1e308 } },
    "tokensPerMinute must be an integer from 1000 to 1000000000",
  ],
  [
    "a truth instead of a number",
    { openai: { ...openai, requestsAtOnce: true } },
    "requestsAtOnce must be an integer from 1 to 64, got true",
  ],
  [
    "no models",
    { openai: { ...openai, models: [] } },
    "openai.models must be a list of 1 to 32 names of models",
  ],
  [
    "a rate of nothing",
    { openai: { ...openai, requestsPerMinute: 0 } },
    "requestsPerMinute must be an integer from 1 to 1000000, got 0",
  ],
  [
    "a rate as text",
    { openai: { ...openai, tokensPerMinute: "9999" } },
    'tokensPerMinute must be an integer from 1000 to 1000000000, got "9999"',
  ],
  [
    "an unknown key",
    { openai: { ...openai, requestPerMinute: 9 } },
    "openai.requestPerMinute is not known; known are endpoint, secretArn",
  ],
])("%s is refused by name", (_, given, message) => {
  expect(() => parse(given)).toThrow(
    expect.objectContaining({ kind: "invalid", message: expect.stringContaining(message) }),
  );
});

test("an override that the stage does not approve fails, naming key, value and what is approved", () => {
  const approved = { endpoint: ["https://eu.api.openai.com/v1"] };
  const other = { openai: { endpoint: "https://elsewhere.example/v1" } };
  expect(() => parse({ openai: { ...openai, approved } }, other)).toThrow(
    'SILTSTONE_PROVIDER_OVERRIDES.openai.endpoint is "https://elsewhere.example/v1", which stage prod does not approve; approved: "https://eu.api.openai.com/v1"',
  );
  expect(() => parse({ openai }, { openai: { requestsPerMinute: 5 } }, "staging")).toThrow(
    /requestsPerMinute is 5.*approved: nothing/,
  );
  const allowed = parse({ openai: { ...openai, approved } }, { openai: { endpoint: approved.endpoint[0] } });
  expect(allowed.openai?.endpoint).toBe("https://eu.api.openai.com/v1");
  for (const stage of ["dev", "pr-12"])
    expect(parse({ openai }, other, stage).openai?.endpoint).toBe("https://elsewhere.example/v1");
  expect(() => parse({ openai }, { openai: { endpoint: 7 } }, "dev")).toThrow(
    /endpoint must be an http\(s\) URL/,
  );
});
