/** The outputs of a deployed stack, by which the command line finds what belongs to a store. */
import {
  CloudFormationClient,
  DescribeStacksCommand,
  paginateDescribeStacks,
  type Stack,
} from "@aws-sdk/client-cloudformation";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { type AwsAccess, accessTo, ownAccess } from "./access.ts";
import { failure, NoSuchStack, refusalOf } from "./failure.ts";
import { patience } from "./request-handler.ts";

export type StackOutputs = Readonly<Record<string, string>>;

/**
 * Output values by name, of the stack with that name, or, given KEY=VALUE, of the one that has this tag and the output `has`.
 * Throws `notFound` when there is none in the account and region, `invalid` when there are several.
 */
export async function stackOutputs(
  stack: string,
  has: string,
  access: AwsAccess = ownAccess,
): Promise<StackOutputs> {
  const client = new CloudFormationClient({
    ...patience(requestBounds.person, 1),
    ...accessTo(null, access),
  });
  try {
    const found = stack.includes("=")
      ? await outputsOfTagged(client, stack, has)
      : (await client.send(new DescribeStacksCommand({ StackName: stack }))).Stacks?.map(outputsOf)[0];
    if (found !== undefined) return found;
    throw new NoSuchStack();
  } catch (error) {
    if (refusalOf(error) === "noStack") throw await noStack(client, stack, error);
    throw failure(error, {
      call: "CloudFormation DescribeStacks",
      subject: stack,
      writes: false,
      permission: "cloudformation:DescribeStacks",
    });
  } finally {
    client.destroy();
  }
}

/** An account has at most 2,000 stacks, unless it asked for more. */
const stacksMax = 10_000;

async function outputsOfTagged(
  client: CloudFormationClient,
  tag: string,
  has: string,
): Promise<StackOutputs | undefined> {
  const [key, value] = [tag.slice(0, tag.indexOf("=")), tag.slice(tag.indexOf("=") + 1)];
  const found: { name: string; outputs: StackOutputs }[] = [];
  let seen = 0;
  for await (const { Stacks = [] } of paginateDescribeStacks({ client }, {})) {
    for (const stack of Stacks) {
      const outputs = outputsOf(stack);
      const isTagged = stack.Tags?.some(({ Key, Value }) => Key === key && Value === value);
      if (isTagged && outputs[has] !== undefined) found.push({ name: stack.StackName ?? "", outputs });
    }
    seen += Stacks.length;
    if (seen > stacksMax) throw invalid(`there are more than ${stacksMax} stacks: name the stack, not a tag`);
  }
  if (found.length > 1) {
    const names = found.map(({ name }) => name).join(", ");
    throw invalid(`the tag ${tag} is on several stacks (${names}): name one of them`);
  }
  return found[0]?.outputs;
}

const outputsOf = ({ Outputs = [] }: Stack): StackOutputs =>
  Object.fromEntries(Outputs.map(({ OutputKey, OutputValue }) => [OutputKey ?? "", OutputValue ?? ""]));

async function noStack(client: CloudFormationClient, stack: string, cause: unknown): Promise<SiltstoneError> {
  const which = stack.includes("=") ? `stack of a store with the tag ${stack}` : `stack ${stack}`;
  const message = `${which} does not exist in ${await client.config.region()} of this account`;
  return new SiltstoneError("notFound", message, { cause });
}
