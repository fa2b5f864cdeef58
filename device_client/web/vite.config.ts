import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin, type UserConfig } from 'vite';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const PUBLIC = at('./public');

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesBelow(path) : [path];
  });
}

/** Writes the list of all built files, and a digest of them, into the service worker. */
function builtFiles(): Plugin {
  return {
    name: 'built-files',
    apply: 'build',
    generateBundle(_options, bundle) {
      const worker = Object.values(bundle).find((one) => one.fileName === 'sw.js');
      if (worker?.type !== 'chunk') return;
      const digest = createHash('sha256');
      const names: string[] = [];
      const add = (name: string, content: string | Uint8Array): void => {
        digest.update(name).update(content);
        if (name !== 'index.html') names.push(`/${name}`);
      };
      for (const one of Object.values(bundle).filter((other) => other !== worker)) {
        add(one.fileName, one.type === 'chunk' ? one.code : one.source);
      }
      for (const path of filesBelow(PUBLIC)) add(relative(PUBLIC, path).replaceAll('\\', '/'), readFileSync(path));
      const built = { version: digest.digest('hex').slice(0, 16), files: names.toSorted() };
      worker.code = worker.code.replace('__BUILT__', JSON.stringify(built));
    },
  };
}

// One origin serves everything under "/". No inline scripts, styles or data: URLs: the console's CSP forbids them.
export const base: UserConfig = {
  base: '/',
  resolve: {
    alias: {
      // The MQTT codec's own dependencies, without the streams and traces that it does not use.
      bl: at('./node_modules/bl/BufferList.js'),
      debug: at('./src/shims/debug.cjs'),
      'process-nextick-args': at('./src/shims/nexttick.ts'),
      // Asked for only where a platform has no WebCrypto of its own.
      crypto: at('./src/shims/crypto.ts'),
    },
  },
  define: { __APP_VERSION__: JSON.stringify(process.env['npm_package_version'] ?? 'dev') },
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, sourcemap: false },
  worker: { format: 'es' },
};

export default defineConfig({
  ...base,
  plugins: [builtFiles()],
  build: {
    ...base.build,
    rollupOptions: {
      input: { index: at('./index.html'), sw: at('./src/sw.ts') },
      output: { entryFileNames: (chunk) => (chunk.name === 'sw' ? 'sw.js' : 'assets/[name]-[hash].js') },
    },
  },
});
