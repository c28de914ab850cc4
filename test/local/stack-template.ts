/** A small template as the CDK synthesises them, over the contract's Lambda fixture. */
import { join } from "node:path";
import type { Template } from "../../scripts/local/template.ts";

const fixture = join(import.meta.dirname, "../contract/lambda-fixture");

const role = { "Fn::GetAtt": ["Role", "Arn"] };

export const codeFolders = { Worker: fixture, Web: fixture, Consumer: fixture, Poor: fixture };

export const template: Template = {
  Parameters: { BootstrapVersion: { Default: "/cdk-bootstrap/version" } },
  Resources: {
    Store: { Type: "AWS::S3::Bucket", Properties: { VersioningConfiguration: { Status: "Enabled" } } },
    Dead: { Type: "AWS::SQS::Queue", Properties: {} },
    Work: {
      Type: "AWS::SQS::Queue",
      Properties: {
        VisibilityTimeout: 1,
        RedrivePolicy: { deadLetterTargetArn: { "Fn::GetAtt": ["Dead", "Arn"] }, maxReceiveCount: 2 },
      },
    },
    Key: {
      Type: "AWS::KMS::Key",
      Properties: {
        KeyPolicy: {
          Version: "2012-10-17",
          Statement: {
            Effect: "Allow",
            Action: "kms:*",
            Resource: "*",
            Principal: { AWS: { "Fn::Join": ["", ["arn:aws:iam::", { Ref: "AWS::AccountId" }, ":root"]] } },
          },
        },
      },
    },
    Sealed: { Type: "AWS::SQS::Queue", Properties: { KmsMasterKeyId: { "Fn::GetAtt": ["Key", "Arn"] } } },
    Table: {
      Type: "AWS::DynamoDB::Table",
      Properties: {
        AttributeDefinitions: [
          { AttributeName: "pk", AttributeType: "S" },
          { AttributeName: "sk", AttributeType: "S" },
        ],
        KeySchema: [
          { AttributeName: "pk", KeyType: "HASH" },
          { AttributeName: "sk", KeyType: "RANGE" },
        ],
        BillingMode: "PAY_PER_REQUEST",
      },
    },
    Role: {
      Type: "AWS::IAM::Role",
      Properties: {
        Policies: [
          {
            PolicyName: "all",
            PolicyDocument: {
              Version: "2012-10-17",
              Statement: { Effect: "Allow", Action: "*", Resource: "*" },
            },
          },
        ],
      },
    },
    Worker: {
      Type: "AWS::Lambda::Function",
      Properties: {
        Handler: "index.handler",
        Runtime: "nodejs24.x",
        MemorySize: 256,
        Timeout: 10,
        ReservedConcurrentExecutions: 2,
        Role: role,
        Environment: {
          Variables: {
            BUCKET: { Ref: "Store" },
            QUEUE: { Ref: "Work" },
            QUEUE_ARN: { "Fn::GetAtt": ["Work", "Arn"] },
            TABLE: { "Fn::Join": ["", ["table:", { Ref: "Table" }]] },
            // biome-ignore lint/suspicious/noTemplateCurlyInString: this is how CloudFormation writes it
            PLACE: { "Fn::Sub": "${AWS::Region}/${Store}/${!literal}" },
            LAST: { "Fn::Select": [1, { "Fn::Split": ["-", "one-two"] }] },
            NOTHING: { Ref: "AWS::NoValue" },
          },
        },
      },
    },
    Web: {
      Type: "AWS::Lambda::Function",
      Properties: { Handler: "index.http", Runtime: "nodejs24.x", MemorySize: 256, Role: role },
    },
    WebVersion: { Type: "AWS::Lambda::Version", Properties: { FunctionName: { Ref: "Web" } } },
    Live: {
      Type: "AWS::Lambda::Alias",
      Properties: {
        FunctionName: { Ref: "Web" },
        FunctionVersion: { "Fn::GetAtt": ["WebVersion", "Version"] },
        Name: "live",
        ProvisionedConcurrencyConfig: { ProvisionedConcurrentExecutions: 2 },
      },
    },
    LiveUrl: {
      Type: "AWS::Lambda::Url",
      Properties: {
        ...{ AuthType: "AWS_IAM", Qualifier: "live" },
        TargetFunctionArn: { "Fn::GetAtt": ["Web", "Arn"] },
      },
    },
    WebUrl: {
      Type: "AWS::Lambda::Url",
      Properties: { AuthType: "AWS_IAM", TargetFunctionArn: { "Fn::GetAtt": ["Web", "Arn"] } },
    },
    Mail: { Type: "AWS::SQS::Queue", Properties: { VisibilityTimeout: 1 } },
    Consumer: {
      Type: "AWS::Lambda::Function",
      Properties: { Handler: "index.consume", Runtime: "nodejs24.x", MemorySize: 256, Role: role },
    },
    PoorRole: {
      Type: "AWS::IAM::Role",
      Properties: {
        Policies: [
          {
            PolicyName: "little",
            PolicyDocument: {
              Version: "2012-10-17",
              Statement: [
                {
                  Effect: "Allow",
                  Action: ["s3:GetObject", "s3:DeleteObject"],
                  Resource: { "Fn::Join": ["", [{ "Fn::GetAtt": ["Store", "Arn"] }, "/mine/*"]] },
                },
                { Effect: "Allow", Action: "sqs:SendMessage", Resource: { "Fn::GetAtt": ["Sealed", "Arn"] } },
                {
                  ...{ Effect: "Allow", Action: ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"] },
                  Resource: { Ref: "Live" },
                },
              ],
            },
          },
        ],
      },
    },
    /** May do next to nothing. */
    Poor: {
      Type: "AWS::Lambda::Function",
      Properties: {
        Handler: "index.handler",
        Runtime: "nodejs24.x",
        MemorySize: 256,
        Role: { "Fn::GetAtt": ["PoorRole", "Arn"] },
      },
    },
    MailToConsumer: {
      Type: "AWS::Lambda::EventSourceMapping",
      Properties: {
        EventSourceArn: { "Fn::GetAtt": ["Mail", "Arn"] },
        FunctionName: { Ref: "Consumer" },
        FunctionResponseTypes: ["ReportBatchItemFailures"],
      },
    },
    Tick: {
      Type: "AWS::Scheduler::Schedule",
      Properties: {
        ScheduleExpression: "rate(1 minute)",
        State: "ENABLED",
        Target: {
          Arn: { "Fn::GetAtt": ["Worker", "Arn"] },
          RoleArn: role,
          Input: '{"do":"log","text":"tick"}',
        },
      },
    },
  },
  Outputs: {
    BucketName: { Value: { Ref: "Store" } },
    QueueUrl: { Value: { Ref: "Work" } },
    DeadUrl: { Value: { Ref: "Dead" } },
    MailUrl: { Value: { Ref: "Mail" } },
    SealedUrl: { Value: { Ref: "Sealed" } },
    TableName: { Value: { Ref: "Table" } },
    WorkerName: { Value: { Ref: "Worker" } },
    LiveUrl: { Value: { "Fn::GetAtt": ["LiveUrl", "FunctionUrl"] } },
    WebUrl: { Value: { "Fn::GetAtt": ["WebUrl", "FunctionUrl"] } },
  },
};
