import { defineConfig, mergeConfig } from 'vite';
import { base } from '../../vite.config';

export default defineConfig(mergeConfig(base, { root: import.meta.dirname, build: { emptyOutDir: true, target: 'es2022' } }));
