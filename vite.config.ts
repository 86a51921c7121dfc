// Builds the page of src/web to dist/web, where the server finds it; `vite` alone serves it with the API of a running server.
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const api = { target: 'http://127.0.0.1:8080', changeOrigin: true, headers: { origin: 'http://127.0.0.1:8080' } };

export default defineConfig({
  root: 'src/web',
  base: './',
  plugins: [react()],
  build: {
    outDir: '../../dist/web',
    emptyOutDir: true,
    target: 'es2024',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'], // light-dark() as it is written
    assetsInlineLimit: 0, // the content policy allows no inline scripts
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/v1': api, '/health': api } },
});
