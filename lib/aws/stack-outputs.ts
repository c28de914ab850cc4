/** The outputs of a deployed stack, by which the command line finds what belongs to a stage. */
import { CloudFormationClient, DescribeStacksCommand } from "@aws-sdk/client-cloudformation";
import { SiltstoneError } from "../core/model/errors.ts";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { failure, refusalOf } from "./failure.ts";
import { patience } from "./request-handler.ts";

/** Output values by name. Throws `notFound` when there is no such stack in the account and region. */
export async function stackOutputs(stackName: string): Promise<Readonly<Record<string, string>>> {
  const client = new CloudFormationClient(patience(requestBounds.person, 1));
  try {
    const answer = await client.send(new DescribeStacksCommand({ StackName: stackName }));
    const outputs = answer.Stacks?.[0]?.Outputs ?? [];
    return Object.fromEntries(
      outputs.map(({ OutputKey, OutputValue }) => [OutputKey ?? "", OutputValue ?? ""]),
    );
  } catch (error) {
    if (refusalOf(error) === "noStack") {
      const region = await client.config.region();
      const message = `stack ${stackName} does not exist in ${region} of this account`;
      throw new SiltstoneError("notFound", message, { cause: error });
    }
    throw failure(error, {
      call: "CloudFormation DescribeStacks",
      subject: stackName,
      writes: false,
      permission: "cloudformation:DescribeStacks",
    });
  } finally {
    client.destroy();
  }
}
