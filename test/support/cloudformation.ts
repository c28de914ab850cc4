/** CloudFormation as far as the command line asks it: DescribeStacks, of one stack or of all, in pages of two. */
import { createServer, type Server } from "node:http";
import { accessKeyOf } from "../../scripts/local/iam/access.ts";
import { listen } from "../../scripts/local/ports.ts";

export interface DescribedStack {
  readonly name: string;
  readonly outputs: Readonly<Record<string, string>>;
  readonly tags?: Readonly<Record<string, string>>;
}

export class CloudFormationServer {
  readonly #server: Server;
  stacks: readonly DescribedStack[] = [];
  /** Why the holder of the access key may not describe that stack, null: all of them; null when they may. */
  refuse: (accessKey: string | null, stack: string | null) => string | null = () => null;
  endpoint = "";

  constructor() {
    this.#server = createServer((request, response) => {
      let body = "";
      request.on("data", (part) => {
        body += part;
      });
      request.on("end", () => {
        const accessKey = accessKeyOf(request.headers.authorization);
        const { status, xml } = this.#answer(new URLSearchParams(body), accessKey);
        response.writeHead(status, { "content-type": "text/xml" }).end(xml);
      });
    });
  }

  async start(): Promise<void> {
    this.endpoint = `http://127.0.0.1:${await listen(this.#server, 0)}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(asked: URLSearchParams, accessKey: string | null): { status: number; xml: string } {
    const name = asked.get("StackName");
    const refusal = this.refuse(accessKey, name);
    if (refusal !== null) return errorOf(403, "AccessDenied", refusal);
    const start = Number(asked.get("NextToken") ?? 0);
    const found =
      name === null ? this.stacks.slice(start, start + 2) : this.stacks.filter((one) => one.name === name);
    if (name !== null && found.length === 0)
      return errorOf(400, "ValidationError", `Stack with id ${name} does not exist`);
    const next = name === null && start + 2 < this.stacks.length ? `<NextToken>${start + 2}</NextToken>` : "";
    const result = `<DescribeStacksResult><Stacks>${found.map(stackXml).join("")}</Stacks>${next}</DescribeStacksResult>`;
    return { status: 200, xml: `<DescribeStacksResponse>${result}</DescribeStacksResponse>` };
  }
}

function errorOf(status: number, code: string, message: string): { status: number; xml: string } {
  const error = `<Error><Type>Sender</Type><Code>${code}</Code><Message>${message.replaceAll(/[<>&"]/g, "?")}</Message></Error>`;
  return { status, xml: `<ErrorResponse>${error}<RequestId>1</RequestId></ErrorResponse>` };
}

const stackXml = ({ name, outputs, tags = {} }: DescribedStack): string => {
  const members = (all: Readonly<Record<string, string>>, key: string, value: string) =>
    Object.entries(all)
      .map(([k, v]) => `<member><${key}>${k}</${key}><${value}>${v}</${value}></member>`)
      .join("");
  return (
    `<member><StackName>${name}</StackName><StackStatus>CREATE_COMPLETE</StackStatus>` +
    `<CreationTime>2026-11-01T00:00:00Z</CreationTime><Outputs>${members(outputs, "OutputKey", "OutputValue")}</Outputs>` +
    `<Tags>${members(tags, "Key", "Value")}</Tags></member>`
  );
};
