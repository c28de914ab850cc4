/** What AWS refuses is told apart by why: each has advice and an exit code of its own. Over a server that refuses as AWS does. */
import { execFile } from "node:child_process";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { listen } from "../../scripts/local/ports.ts";

const launcher = join(process.cwd(), "scripts/cli/silt.cjs");
let server: Server;
let endpoint: string;
let answer = { status: 500, body: "" };
beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume();
    response.writeHead(answer.status, { "content-type": "text/xml" }).end(answer.body);
  });
  endpoint = `http://127.0.0.1:${await listen(server, 0)}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const refused = (code: string, message: string) =>
  `<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>1</RequestId></ErrorResponse>`;

const region = "eu-central-1";
const keys = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };

/** As `npx silt` starts it, with these variables of AWS and no others. */
function silt(args: readonly string[], variables: Readonly<Record<string, string>>) {
  const env = {
    PATH: process.env.PATH,
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_CONFIG_FILE: "/nowhere",
    AWS_SHARED_CREDENTIALS_FILE: "/nowhere",
    AWS_ENDPOINT_URL_CLOUDFORMATION: endpoint,
    AWS_MAX_ATTEMPTS: "1",
    ...variables,
  };
  return new Promise<{ code: number; out: string; err: string }>((resolve) => {
    execFile(process.execPath, [launcher, "--stage", "prod", ...args], { env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

test.each([
  ["access denied", 403, "AccessDenied", "User: u is not authorized", 7, "denied", "operator policy"],
  [
    "expired credentials",
    403,
    "ExpiredToken",
    "The security token expired",
    8,
    "credentials",
    "sign in again",
  ],
  [
    "unknown credentials",
    403,
    "InvalidClientTokenId",
    "The token is invalid",
    8,
    "credentials",
    "whose they are",
  ],
  [
    "a missing stack",
    400,
    "ValidationError",
    "Stack with id Siltstone-prod does not exist",
    10,
    "noStack",
    `does not exist in ${region} of this account; if it is in another region say so`,
  ],
] as const)("%s", async (_, status, name, message, code, refusal, advice) => {
  answer = { status, body: refused(name, message) };
  const said = await silt(["status"], { ...keys, AWS_REGION: region });
  expect(said).toMatchObject({ code, out: "", err: expect.stringContaining(advice) });
  const machine = await silt(["status", "--json"], { ...keys, AWS_REGION: region });
  expect({ ...machine, out: JSON.parse(machine.out) }).toMatchObject({
    code,
    err: "",
    out: { error: { refusal } },
  });
});

test("no region, and no credentials", async () => {
  expect(await silt(["status"], keys)).toMatchObject({
    code: 9,
    err: expect.stringContaining("AWS_REGION="),
  });
  expect(await silt(["status"], { AWS_REGION: region })).toMatchObject({
    code: 8,
    err: expect.stringContaining("there are no AWS credentials"),
  });
});
