/** What Lambda says of a deployed function, for the command line. */
import { GetFunctionConfigurationCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { requestBounds } from "../core/policy/time-bounds.ts";
import { type AwsAccess, accessTo, ownAccess } from "./access.ts";
import { failure } from "./failure.ts";
import { patience } from "./request-handler.ts";

export interface FunctionConfiguration {
  readonly name: string;
  /** Active, Pending, Inactive, Failed: as Lambda says. */
  readonly state: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly logGroup: string;
}

const socketsMax = 8;

export async function functionConfiguration(
  name: string,
  access: AwsAccess = ownAccess,
): Promise<FunctionConfiguration> {
  const client = new LambdaClient({
    ...patience(requestBounds.person, socketsMax),
    ...accessTo("lambda", access),
  });
  try {
    const found = await client.send(new GetFunctionConfigurationCommand({ FunctionName: name }));
    return {
      name,
      state: found.State ?? "unknown",
      variables: found.Environment?.Variables ?? {},
      logGroup: found.LoggingConfig?.LogGroup ?? `/aws/lambda/${name}`,
    };
  } catch (error) {
    throw failure(error, {
      call: "Lambda GetFunctionConfiguration",
      subject: name,
      writes: false,
      permission: "lambda:GetFunctionConfiguration",
    });
  } finally {
    client.destroy();
  }
}
