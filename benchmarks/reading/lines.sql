-- The lines of the runs that began in [:since, :until). The last ones of a failed run failed.
-- Products are drawn unevenly: of 60,000 the first are sent often, the last hardly; one line of 100,003 is of a product
-- that nothing else ever mentions.
INSERT INTO archive.line (flow_key, log_id, created, finished, process_group_id, process_group_name,
    parent_process_group_id, original_filename_uuid, filename_uuid, state, status, process_count, success_count,
    fail_count, in_bound, is_triggered, triggered_by, log_type, flow_order, is_send_s3, row_num, form,
    src_hash, fields, rest)
SELECT flow_key, log_id, created, created + interval '1 ms' * (20 + draw % 900), step_id, step, process_group_id,
    filename_uuid, md5('line' || log_id)::uuid::text, 3, CASE WHEN failed THEN 3 ELSE 2 END, 1,
    (NOT failed)::int, failed::int, in_bound, false, 'System', 3, 4, failed::int, n, 0, draw,
    jsonb_build_object('sku', sku, 'barcode', barcode)
    || CASE WHEN failed THEN jsonb_build_object('message', (ARRAY[
            'Satış fiyatı liste fiyatından büyük olamaz (SKU: ' || sku || ')',
            'Nebim V3: ' || barcode || ' barkodlu ürün bulunamadı',
            'Rate limit exceeded: 50 requests per 10 s for seller 108421',
            'Internal Server Error (java.lang.NullPointerException)'])[1 + draw % 4],
            'error_code', (ARRAY['PRC-1001', 'NBM-404', 'RL-50', 'MP-500'])[1 + draw % 4])
        ELSE jsonb_build_object('message', CASE kind WHEN 'price' THEN 'Fiyat güncellendi' WHEN 'stock' THEN
            'Stok gönderildi' WHEN 'product' THEN 'Product was sent' ELSE 'Sipariş ERP''ye aktarıldı' END)
    END
    || CASE kind
        WHEN 'price' THEN jsonb_build_object('price', price, 'currency', 'TRY')
        WHEN 'stock' THEN jsonb_build_object('stock', draw % 140, 'warehouse',
            (ARRAY['MRK-01', 'IST-AVM-07', 'IZM-03', 'DEPO-ŞİŞLİ'])[1 + draw / 8 % 4])
        WHEN 'product' THEN jsonb_build_object('is_active', draw % 19 <> 0)
        ELSE jsonb_build_object('order_number', 'DM' || log_id, 'total', price, 'is_gift', draw % 11 = 0)
    END,
    CASE kind
        WHEN 'product' THEN jsonb_build_object('attributes', jsonb_build_object('renk', 'Siyah', 'beden', 'XS'))
        WHEN 'order' THEN jsonb_build_object('customer', jsonb_build_object('name', 'Ayşe Yılmaz', 'city', 'İzmir'))
    END
FROM (
    SELECT *, CASE WHEN log_id % 100003 = 7 THEN 'NEW-' || log_id ELSE
            (ARRAY['TSH', 'GML', 'ELB', 'PNT', 'CKT', 'KZK', 'ETK', 'AYK', 'CNT', 'SRT'])[1 + product % 10] || '-'
            || 1000 + product / 6 || '-SYH-' || (ARRAY['XS', 'S', 'M', 'L', 'XL', 'XXL'])[1 + product % 6]
        END AS sku,
        '869' || lpad((123450000 + product * 7)::text, 10, '0') AS barcode,
        (34990 + product % 40 * 2500 - draw % 5 * 1000) / 100.0 AS price
    FROM (
        SELECT r.flow_key, r.filename_uuid, r.process_group_id, r.in_bound, s.kind, s.step_id, s.step, n,
            r.log_id + 16 + n AS log_id, r.created + interval '1 s' + n * interval '100 ms' AS created,
            n > r.success_count AS failed, draw, (power(draw / 1024 % 1000000 / 1e6, 2) * 60000)::int AS product
        FROM archive.run r
        JOIN shape s USING (flow_key)
        CROSS JOIN LATERAL generate_series(1, r.fragment_count) n
        CROSS JOIN LATERAL pg_temp.draw(r.log_id + 16 + n, 2) draw
        WHERE r.created >= :since AND r.created < :until
    ) drawn
) lines;
