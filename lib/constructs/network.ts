/** A VPC for the functions, with endpoints to what they call: without those a private subnet reaches none of it. */
import {
  GatewayVpcEndpointAwsService,
  InterfaceVpcEndpointAwsService,
  type ISecurityGroup,
  type IVpc,
  type SubnetSelection,
} from "aws-cdk-lib/aws-ec2";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { Construct } from "constructs";
import type { EmbeddingOptions } from "./embedding.ts";

export interface NetworkOptions {
  readonly vpc: IVpc;
  /** @default the VPC's private subnets */
  readonly subnets?: SubnetSelection;
  /** @default one for each function, which lets everything out */
  readonly securityGroups?: ISecurityGroup[];
  /**
   * Whether endpoints for S3, DynamoDB, SQS and Lambda are made in the VPC, and for Secrets Manager and Bedrock where `embedding` needs them; `false`
   * where it has them, or a NAT gateway. Other providers of embeddings are reached over a NAT gateway alone.
   * @default true
   */
  readonly endpoints?: boolean;
}
export const networkProps = {
  vpc: true,
  subnets: true,
  securityGroups: true,
  endpoints: true,
} as const satisfies Record<keyof NetworkOptions, true>;

export function addEndpoints(
  scope: Construct,
  { vpc, subnets, endpoints = true }: NetworkOptions,
  { providers = {} }: Partial<EmbeddingOptions> = {},
): void {
  if (!endpoints) return;
  const { S3, DYNAMODB } = GatewayVpcEndpointAwsService;
  const { SQS, LAMBDA, SECRETS_MANAGER, BEDROCK_RUNTIME } = InterfaceVpcEndpointAwsService;
  const hasSecret = Object.values(providers).some(({ secret }) => secret !== undefined);
  const called = {
    ...{ Sqs: SQS, Lambda: LAMBDA },
    ...(hasSecret ? { SecretsManager: SECRETS_MANAGER } : {}),
    ...(providers.bedrock === undefined ? {} : { Bedrock: BEDROCK_RUNTIME }),
  };
  const id = (name: string) => `${scope.node.id}${name}Endpoint`;
  for (const [name, service] of Object.entries({ S3, DynamoDB: DYNAMODB }))
    vpc.addGatewayEndpoint(id(name), { service, ...(subnets === undefined ? {} : { subnets: [subnets] }) });
  for (const [name, service] of Object.entries(called))
    vpc.addInterfaceEndpoint(id(name), { service, ...(subnets === undefined ? {} : { subnets }) });
}

/** What Lambda does in the function's name when it puts it into a VPC; these actions know no narrower resource. */
export function allowNetwork(handler: LambdaFunction): void {
  handler.addToRolePolicy(
    new PolicyStatement({
      actions: [
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
      ],
      resources: ["*"],
    }),
  );
}
