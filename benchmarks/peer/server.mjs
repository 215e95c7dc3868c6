// The server that waule replaces, as its routes suggest it: Express and Prisma, two processes, for benchmarks only.
// No idempotency, no permissions, no ledger, and two charges that meet can both pass the check of the balance.
import cluster from 'node:cluster';
import express from 'express';
import prismaClient from '@prisma/client';
import { PrismaPg } from '@prisma/adapter-pg';

const { PrismaClient } = prismaClient;
const PRICES = { m1: 3 };

function serve() {
  const prisma = new PrismaClient({
    adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL, max: 8 }),
    transactionOptions: { maxWait: 20_000, timeout: 20_000 },
  });
  const router = express.Router();

  router.use((request, response, next) => {
    if (request.headers['x-internal-secret'] === process.env.INTERNAL_SECRET) return next();
    response.status(401).json({ error: 'Unauthorized' });
  });

  router.post('/billing/charge', async (request, response) => {
    const { targetId, modelId, operation, quantity = 1 } = request.body;
    const cost = (PRICES[modelId] ?? 1) * quantity;
    try {
      response.json(await prisma.$transaction(async (tx) => {
        const user = await tx.user.findUnique({ where: { id: targetId }, select: { credits: true } });
        if (!user || user.credits < cost) throw new Error('Insufficient credits');
        const { credits } = await tx.user.update({
          where: { id: targetId },
          data: { credits: { decrement: cost } },
          select: { credits: true },
        });
        const { id } = await tx.usage.create({
          data: { userId: targetId, modelId, operation, quantity, cost },
          select: { id: true },
        });
        return { success: true, creditsCharged: cost, balance: credits, chargeId: id };
      }));
    } catch (error) {
      response.status(500).json({ success: false, error: error.message });
    }
  });

  router.get('/billing/balance', async (request, response) => {
    const user = await prisma.user.findUnique({ where: { id: request.query.targetId }, select: { credits: true } });
    response.json({ balance: user?.credits ?? 0 });
  });

  router.get('/tenants/by-apikey', async (request, response) => {
    const tenant = await prisma.tenant.findUnique({
      where: { apiKey: request.headers['x-api-key'] },
      select: { id: true, name: true, credits: true, enabledModels: true, ossMode: true, isActive: true },
    });
    if (!tenant) return response.status(404).json({ error: 'Tenant not found' });
    response.json(tenant);
  });

  router.post('/storage/record', async (request, response) => {
    const { tenantId, bytes } = request.body;
    await prisma.tenant.update({ where: { id: tenantId }, data: { storageUsedBytes: { increment: bytes } } });
    response.json({ ok: true });
  });

  const app = express();
  app.get('/healthz', (_request, response) => response.json({ status: 'ok' }));
  app.use(express.json());
  app.use('/internal', router);
  app.listen(Number(process.env.PORT), '127.0.0.1', 1024);
}

if (cluster.isPrimary) {
  for (let worker = 0; worker < 2; worker += 1) cluster.fork();
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.kill('SIGKILL');
    process.exit(0);
  });
} else {
  serve();
}
