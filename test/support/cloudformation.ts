/** CloudFormation as far as the command line asks it: DescribeStacks, of one stack or of all, in pages of two. */
import { createServer, type Server } from "node:http";
import { listen } from "../../scripts/local/ports.ts";

export interface DescribedStack {
  readonly name: string;
  readonly outputs: Readonly<Record<string, string>>;
  readonly tags?: Readonly<Record<string, string>>;
}

export class CloudFormationServer {
  readonly #server: Server;
  stacks: readonly DescribedStack[] = [];
  endpoint = "";

  constructor() {
    this.#server = createServer((request, response) => {
      let body = "";
      request.on("data", (part) => {
        body += part;
      });
      request.on("end", () => {
        const { status, xml } = this.#answer(new URLSearchParams(body));
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

  #answer(asked: URLSearchParams): { status: number; xml: string } {
    const name = asked.get("StackName");
    const start = Number(asked.get("NextToken") ?? 0);
    const found =
      name === null ? this.stacks.slice(start, start + 2) : this.stacks.filter((one) => one.name === name);
    if (name !== null && found.length === 0) {
      const message = `Stack with id ${name} does not exist`;
      const error = `<Error><Type>Sender</Type><Code>ValidationError</Code><Message>${message}</Message></Error>`;
      return { status: 400, xml: `<ErrorResponse>${error}<RequestId>1</RequestId></ErrorResponse>` };
    }
    const next = name === null && start + 2 < this.stacks.length ? `<NextToken>${start + 2}</NextToken>` : "";
    const result = `<DescribeStacksResult><Stacks>${found.map(stackXml).join("")}</Stacks>${next}</DescribeStacksResult>`;
    return { status: 200, xml: `<DescribeStacksResponse>${result}</DescribeStacksResponse>` };
  }
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
