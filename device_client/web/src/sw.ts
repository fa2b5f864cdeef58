/** Keeps the built files, so that the application opens without a network. Data never passes through here. */

/** Put in by the build: paths of all built files, and a digest of them. */
declare const __BUILT__: { version: string; files: string[] };

const scope = globalThis as unknown as ServiceWorkerGlobalScope;
const { version, files } = __BUILT__;
const PREFIX = 'mpacs-shell-';
const CACHE = PREFIX + version;
const SHELL = '/';
const KEPT = new Set([SHELL, ...files]);

async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  // Past the browser's own cache: the shell of this version, whole or not at all.
  await cache.addAll([...KEPT].map((path) => new Request(path, { cache: 'reload' })));
}

async function activate(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
  await scope.clients.claim();
}

async function answer(request: Request, path: string): Promise<Response> {
  const kept = await caches.match(path, { cacheName: CACHE });
  return kept ?? fetch(request);
}

scope.addEventListener('install', (event) => event.waitUntil(install()));
scope.addEventListener('activate', (event) => event.waitUntil(activate()));
scope.addEventListener('message', (event) => {
  if (event.data === 'skip-waiting') void scope.skipWaiting();
});
scope.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== 'GET' || origin !== scope.location.origin) return;
  // The page itself has one address; whatever else is opened (the authority's page, say) is the gateway's.
  const path = request.mode === 'navigate' && pathname === '/index.html' ? SHELL : pathname;
  if (KEPT.has(path)) event.respondWith(answer(request, path));
});
