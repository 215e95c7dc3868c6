-- What `prisma migrate` would make of prisma/schema.prisma, with 10,000 users and tenants.
CREATE TABLE users (id text PRIMARY KEY, credits integer NOT NULL DEFAULT 0);
CREATE TABLE usage (
    id text PRIMARY KEY,
    "userId" text NOT NULL REFERENCES users (id),
    "modelId" text NOT NULL,
    operation text NOT NULL,
    quantity integer NOT NULL,
    cost integer NOT NULL,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX ON usage ("userId", "createdAt");
CREATE TABLE tenants (
    id text PRIMARY KEY,
    name text NOT NULL,
    "apiKey" text NOT NULL UNIQUE,
    credits integer NOT NULL DEFAULT 0,
    "enabledModels" jsonb NOT NULL DEFAULT '[]',
    "ossMode" text NOT NULL DEFAULT 'platform',
    "isActive" boolean NOT NULL DEFAULT true,
    "storageUsedBytes" bigint NOT NULL DEFAULT 0
);
INSERT INTO users SELECT 'u' || n, 1000000000 FROM generate_series(1, 10000) AS n;
INSERT INTO tenants (id, name, "apiKey", credits, "enabledModels")
    SELECT 't' || n, 'Tenant ' || n, 'key-' || n, 1000000000, '["m1"]' FROM generate_series(1, 10000) AS n;
VACUUM ANALYZE;
