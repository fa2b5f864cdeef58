import { defineConfig } from 'vite';

// One origin serves everything under "/". No inline scripts, styles or data: URLs: the console's CSP forbids them.
export default defineConfig({
  base: '/',
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
  },
  worker: { format: 'es' },
});
