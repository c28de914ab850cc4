/**
 * Secrets Manager and Bedrock as the functions ask them, over the protocols of the SDK's clients: each call is judged by the rights of who
 * asks, and what is allowed is answered: a secret by its text, a model by a provider that speaks Bedrock's API (lib/clients/fake-provider.ts).
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AccessControl, type Asked, accessKeyOf } from "../../scripts/local/iam/access.ts";
import { listen } from "../../scripts/local/ports.ts";
import { accountId } from "../../scripts/local/resource-names.ts";

const jsonType = "application/x-amz-json-1.1";

export class EmbeddingServices {
  readonly #server: Server;
  readonly #region: string;
  readonly #access: () => AccessControl;
  /** Where models are asked. */
  bedrockUrl = "";
  /** Texts by ARN. */
  readonly secrets = new Map<string, string>();
  /** What was asked and allowed, by who asked. */
  readonly allowed: (Asked & { readonly accessKey: string })[] = [];
  endpoint = "";

  constructor(region: string, access: () => AccessControl) {
    this.#region = region;
    this.#access = access;
    this.#server = createServer(async (request, response) => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const { status, headers, body } = await this.#answer(request, Buffer.concat(parts));
      response.writeHead(status, headers).end(body);
    });
  }

  async start(): Promise<void> {
    this.endpoint = `http://127.0.0.1:${await listen(this.#server, 0)}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request: IncomingMessage, body: Buffer) {
    const model = /^\/model\/([^/]+)\/invoke$/.exec(request.url ?? "")?.[1];
    const secretId = model === undefined ? String(JSON.parse(body.toString()).SecretId) : "";
    const accessKey = accessKeyOf(request.headers.authorization);
    const asked =
      model === undefined
        ? [{ action: "secretsmanager:GetSecretValue", resource: secretId }]
        : this.#ofModel(decodeURIComponent(model));
    const denial = this.#access().denialOf(accessKey, asked);
    const json = (status: number, value: object) => ({
      ...{ status, headers: { "content-type": jsonType }, body: JSON.stringify(value) },
    });
    if (denial !== null) {
      const { status, headers, body } = json(400, {
        ...{ __type: "AccessDeniedException", message: denial.message },
      });
      return { status, headers: { ...headers, "x-amzn-errortype": "AccessDeniedException" }, body };
    }
    this.allowed.push(...asked.map((one) => ({ ...one, accessKey: accessKey! })));
    if (model === undefined) return json(200, { ARN: secretId, SecretString: this.secrets.get(secretId) });
    const answer = await fetch(`${this.bedrockUrl}${request.url}`, {
      ...{ method: "POST", headers: { "content-type": "application/json" }, body },
    });
    const headers = { "content-type": "application/json" };
    return { status: answer.status, headers, body: await answer.text() };
  }

  /** An inference profile asks its model in each of its regions. */
  #ofModel(model: string): Asked[] {
    const action = "bedrock:InvokeModel";
    const [, profiled] = /^(?:us|eu|global)\.(.+)$/.exec(model) ?? [];
    const ofRegion = (region: string, name: string) => ({
      ...{ action, resource: `arn:aws:bedrock:${region}::foundation-model/${name}` },
    });
    if (profiled === undefined) return [ofRegion(this.#region, model)];
    const profile = `arn:aws:bedrock:${this.#region}:${accountId}:inference-profile/${model}`;
    return [{ action, resource: profile }, ofRegion(this.#region, profiled), ofRegion("us-west-2", profiled)];
  }
}
